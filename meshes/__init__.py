"""What a simulation is made of: meshes, fields, scalars, cases, samples, predictions, and the files they live in."""

from .mesh import Mesh
from .packed import Cases, Predictions, Samples
from .prediction import Estimate, Normal, Prediction, Trust, Values
from .sample import Case, Field, Sample, Scalar

__all__ = [
    "Case",
    "Cases",
    "Estimate",
    "Field",
    "Mesh",
    "Normal",
    "Prediction",
    "Predictions",
    "Sample",
    "Samples",
    "Scalar",
    "Trust",
    "Values",
]
