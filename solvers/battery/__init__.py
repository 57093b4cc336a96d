"""Lithium-ion cells: what they are made of, the single-particle model, and PyBaMM's models."""

from .bpx import read_bpx
from .graphite_nmc import graphite_nmc
from .pybamm_models import DFN, SPM, SPMe
from .single_particle import SingleParticle

__all__ = ["DFN", "SPM", "SPMe", "SingleParticle", "graphite_nmc", "read_bpx"]
