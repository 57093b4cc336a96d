"""What learns from simulations: recipes, predictors, and the files that keep them."""

from .baselines import MeanField, NearestCase, PodRidge
from .bundle import load
from .gp import Training
from .mmgp import MMGP
from .surrogate import Differentiable, Predictor, Surrogate

__all__ = [
    "MMGP",
    "Differentiable",
    "MeanField",
    "NearestCase",
    "PodRidge",
    "Predictor",
    "Surrogate",
    "Training",
    "load",
]
