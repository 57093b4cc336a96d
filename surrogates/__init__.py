"""What learns from simulations: recipes, predictors, and the files that keep them."""

from .baselines import MeanField, NearestCase, PodRidge
from .bundle import load
from .chebyshev import Chebyshev
from .closures import closure
from .column_network import ColumnNetwork, RandomizedPrior
from .conformal import Conformal
from .conservation_update import ConservationUpdate, NetFlux, Total
from .deep_ensemble import DeepEnsemble
from .deeponet import FNO, GINO, DeepONet, FusionDeepONet, Mionet, MultiTaskDeepONet, PodDeepONet
from .derived import Derived, GradientOf, WallFlux
from .ensemble import Ensemble
from .field_networks import RingFNO, StencilNetwork
from .forces import Stream, SurfaceForces
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
from .particles import Particles
from .pinn import Pinn
from .pinn_descent import Annealing, Gradients, GradualTime, QuasiNewton, SelfAttention
from .pinn_network import PathologyBlocks, Perceptron, Split
from .pinn_problem import Ansatz, Equations, Problem, Term
from .pinn_training import LevenbergMarquardt
from .pod_network import PodNetwork
from .polynomial import Polynomial
from .porous import Porous
from .priored import Priored
from .red_noise import Autoregressive
from .rollout import Rollout
from .sensors import Sensors
from .surface_features import SurfaceFeatures
from .surrogate import Differentiable, Predictor, Pulled, Surrogate
from .tendency import Tendency
from .training import Descent

__all__ = [
    "FNO",
    "GINO",
    "MMGP",
    "Annealing",
    "Ansatz",
    "AttentionUNet",
    "Autoregressive",
    "Chebyshev",
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
    "Equations",
    "FusionDeepONet",
    "GlobalNodes",
    "GradientOf",
    "Gradients",
    "GradualTime",
    "GraphTransformer",
    "Image",
    "LevenbergMarquardt",
    "Masking",
    "MeanField",
    "MeshGraphNet",
    "Mionet",
    "MultiFidelity",
    "MultiNode",
    "MultiTaskDeepONet",
    "NearestCase",
    "NetFlux",
    "Particles",
    "PatchNetwork",
    "PathologyBlocks",
    "Perceptron",
    "Pinn",
    "PodDeepONet",
    "PodNetwork",
    "PodRidge",
    "Polynomial",
    "Porous",
    "Predictor",
    "Priored",
    "Problem",
    "Pulled",
    "QuasiNewton",
    "RandomizedPrior",
    "Reach",
    "RingFNO",
    "Rollout",
    "SelfAttention",
    "Sensors",
    "Slices",
    "Split",
    "StencilNetwork",
    "Stream",
    "SurfaceFeatures",
    "SurfaceForces",
    "Surrogate",
    "Temporal",
    "Tendency",
    "Term",
    "Total",
    "Training",
    "Trunk",
    "WallFlux",
    "closure",
    "load",
]
