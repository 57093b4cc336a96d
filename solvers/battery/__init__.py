"""Lithium-ion cells: what they are made of, the single-particle model, and PyBaMM's models."""

from .bpx import read_bpx
from .currents import driven, random_currents
from .graphite_nmc import graphite_nmc
from .pybamm_models import DFN, SPM, SPMe
from .single_particle import SingleParticle

__all__ = [
    "DFN",
    "SPM",
    "SPMe",
    "SingleParticle",
    "driven",
    "graphite_nmc",
    "random_currents",
    "read_bpx",
]
