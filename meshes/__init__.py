"""What a simulation is made of: meshes, fields, scalars, cases, samples, predictions, and the
files they live in.

What reads and writes files is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .mesh import Mesh
from .packed import Cases, Predictions, Samples
from .prediction import Estimate, Normal, Prediction, Trust, Values
from .sample import Case, Field, Sample, Scalar

if TYPE_CHECKING:
    from .assembling import Folder
    from .case_files import find_cases
    from .columns import Columns
    from .columns_reading import read_columns
    from .columns_writing import write_columns
    from .folder import read_folder
    from .lat_lon import LatLon, lat_lon_mesh, read_grids
    from .reading import MeshFile, MeshFileError, Reader, read_case, read_mesh, read_sample
    from .roles import Settings
    from .writing import native_format, write_mesh, write_prediction, write_sample

_LATER = {
    "Columns": "columns",
    "Folder": "assembling",
    "LatLon": "lat_lon",
    "MeshFile": "reading",
    "MeshFileError": "reading",
    "Reader": "reading",
    "Settings": "roles",
    "find_cases": "case_files",
    "lat_lon_mesh": "lat_lon",
    "native_format": "writing",
    "read_case": "reading",
    "read_columns": "columns_reading",
    "read_folder": "folder",
    "read_grids": "lat_lon",
    "read_mesh": "reading",
    "read_sample": "reading",
    "write_columns": "columns_writing",
    "write_mesh": "writing",
    "write_prediction": "writing",
    "write_sample": "writing",
}

__all__ = [
    "Case",
    "Cases",
    "Columns",
    "Estimate",
    "Field",
    "Folder",
    "LatLon",
    "Mesh",
    "MeshFile",
    "MeshFileError",
    "Normal",
    "Prediction",
    "Predictions",
    "Reader",
    "Sample",
    "Samples",
    "Scalar",
    "Settings",
    "Trust",
    "Values",
    "find_cases",
    "lat_lon_mesh",
    "native_format",
    "read_case",
    "read_columns",
    "read_folder",
    "read_grids",
    "read_mesh",
    "read_sample",
    "write_columns",
    "write_mesh",
    "write_prediction",
    "write_sample",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
