"""What learns from simulations: recipes, predictors, and the files that keep them."""

from .baselines import MeanField, NearestCase, PodRidge
from .bundle import load
from .closures import closure
from .column_network import ColumnNetwork, RandomizedPrior
from .conformal import Conformal
from .conservation_update import ConservationUpdate, NetFlux, Total
from .deep_ensemble import DeepEnsemble
from .deeponet import FNO, GINO, DeepONet, FusionDeepONet, Mionet, MultiTaskDeepONet, PodDeepONet
from .derived import Derived, GradientOf, WallFlux
from .ensemble import Ensemble
from .field_networks import RingFNO, StencilNetwork
from .gp import Training
from .graph_options import (
    Contact,
    GlobalNodes,
    Masking,
    MultiNode,
    Reach,
    Slices,
    Temporal,
)
from .graph_transformer import GraphTransformer
from .grid_networks import AttentionUNet, PatchNetwork
from .mesh_graph_net import MeshGraphNet
from .mmgp import MMGP
from .multi_fidelity import MultiFidelity
from .operator_data import Trunk
from .operator_derivative import Derivative
from .operator_images import Image
from .pod_network import PodNetwork
from .polynomial import Polynomial
from .priored import Priored
from .red_noise import Autoregressive
from .rollout import Rollout
from .sensors import Sensors
from .surrogate import Differentiable, Predictor, Surrogate
from .tendency import Tendency
from .training import Descent

__all__ = [
    "FNO",
    "GINO",
    "MMGP",
    "AttentionUNet",
    "Autoregressive",
    "ColumnNetwork",
    "Conformal",
    "ConservationUpdate",
    "Contact",
    "DeepEnsemble",
    "DeepONet",
    "Derivative",
    "Derived",
    "Descent",
    "Differentiable",
    "Ensemble",
    "FusionDeepONet",
    "GlobalNodes",
    "GradientOf",
    "GraphTransformer",
    "Image",
    "Masking",
    "MeanField",
    "MeshGraphNet",
    "Mionet",
    "MultiFidelity",
    "MultiNode",
    "MultiTaskDeepONet",
    "NearestCase",
    "NetFlux",
    "PatchNetwork",
    "PodDeepONet",
    "PodNetwork",
    "PodRidge",
    "Polynomial",
    "Predictor",
    "Priored",
    "RandomizedPrior",
    "Reach",
    "RingFNO",
    "Rollout",
    "Sensors",
    "Slices",
    "StencilNetwork",
    "Surrogate",
    "Temporal",
    "Tendency",
    "Total",
    "Training",
    "Trunk",
    "WallFlux",
    "closure",
    "load",
]
