"""What learns from simulations: recipes, predictors, and the files that keep them."""

from .baselines import MeanField, NearestCase, PodRidge
from .bundle import load
from .conformal import Conformal
from .ensemble import Ensemble
from .gp import Training
from .graph_transformer import GraphTransformer
from .mesh_graph_net import MeshGraphNet
from .mmgp import MMGP
from .pod_network import PodNetwork
from .rollout import Rollout
from .surrogate import Differentiable, Predictor, Surrogate
from .training import Descent

__all__ = [
    "MMGP",
    "Conformal",
    "Descent",
    "Differentiable",
    "Ensemble",
    "GraphTransformer",
    "MeanField",
    "MeshGraphNet",
    "NearestCase",
    "PodNetwork",
    "PodRidge",
    "Predictor",
    "Rollout",
    "Surrogate",
    "Training",
    "load",
]
