"""Which format a file has: told by its content first, by its suffix where the content does not
say."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .validation import InvalidMesh

_HEAD = 4096


@dataclass(frozen=True)
class Format:
    """A file format: its name, the suffixes it goes by (the first is written), where its decoder
    lives.

    Predictions are written in it if it has an encoder.
    """

    name: str
    suffixes: tuple[str, ...]
    decoder: str
    argument: str = ""
    encoder: str = ""

    @property
    def carries_fields(self) -> bool:
        """Whether predictions are written in it."""
        return bool(self.encoder)

    def decode(self, path: Path) -> Any:
        """The raw mesh in `path`."""
        decode = _function(self.decoder)
        return decode(path, self.argument) if self.argument else decode(path)

    def encode(self, raw: Any, name: str, source: Path | None) -> dict[str, bytes]:
        """The files to write for a raw mesh, by name: side files first, the one called `name`
        last. `source` is the file that the mesh came from, for formats that are written as a copy
        with more in it."""
        found: dict[str, bytes] = _function(self.encoder)(raw, name, source)
        return found


def _function(place: str) -> Callable[..., Any]:
    module, function = place.split(":")
    found: Callable[..., Any] = getattr(
        importlib.import_module(f"{__package__}.{module}"), function
    )
    return found


def _foreign(name: str, meshio: str, *suffixes: str) -> Format:
    return Format(name, suffixes, "foreign:by_meshio", meshio)


VTU = Format("VTU", (".vtu",), "vtkxml:decode", "", "vtkxml_writing:encode_vtu")
VTP = Format("VTP", (".vtp",), "vtkxml:decode", "", "vtkxml_writing:encode_vtp")
VTK_XML = Format("VTK XML", (".vti", ".vts", ".vtr", ".vtm", ".pvtu", ".pvtp"), "vtkxml:decode")
PVD = Format("PVD", (".pvd",), "vtkxml:decode", "", "vtkxml_writing:encode_pvd")
VTK = Format("VTK legacy", (".vtk",), "vtklegacy:decode", "", "vtklegacy:encode")
VTKHDF = Format("VTKHDF", (".vtkhdf", ".hdf", ".h5", ".hdf5"), "vtkhdf:decode", "", "vtkhdf:encode")
XDMF = Format("XDMF", (".xdmf", ".xmf"), "xdmf:decode", "", "xdmf:encode")
EXODUS = Format(
    "Exodus", (".exo", ".e", ".ex2", ".exii", ".g"), "exodus:decode", "", "exodus:encode"
)
CGNS = Format("CGNS", (".cgns",), "cgns:decode", "", "cgns:encode")
CGNS_ADF = Format("CGNS (ADF)", (".cgns",), "foreign:by_vtk", ".cgns")
GMSH = Format("Gmsh", (".msh",), "msh:decode", "", "msh:encode")
ENSIGHT = Format("EnSight", (".case", ".encas"), "ensight:decode", "", "ensight:encode")
STL = Format("STL", (".stl",), "surfaces:decode_stl")
PLY = Format("PLY", (".ply",), "surfaces:decode_ply")
OBJ = Format("OBJ", (".obj",), "surfaces:decode_obj")
OFF = Format("OFF", (".off",), "surfaces:decode_off")
SU2 = Format("SU2", (".su2",), "decks:decode_su2")
ABAQUS = Format("Abaqus", (".inp",), "decks:decode_abaqus")
AVS = _foreign("AVS-UCD", "avsucd", ".avs", ".inp", ".ucd")
ANSYS = _foreign("ANSYS mesh", "ansys", ".msh")
DOLFIN = _foreign("DOLFIN XML", "dolfin-xml", ".xml")
MED = _foreign("MED", "med", ".med")
H5M = _foreign("MOAB", "h5m", ".h5m")
TRAJECTORY = Format("MeshGraphNets trajectory", (".tfrecord",), "trajectories:decode")
MEDIT = _foreign("Medit", "medit", ".mesh", ".meshb")
_BY_SUFFIX_ONLY = (
    OBJ,
    SU2,
    MEDIT,
    AVS,
    _foreign("Nastran", "nastran", ".bdf", ".nas", ".fem"),
    _foreign("Tecplot", "tecplot", ".dat", ".tec"),
    _foreign("Kratos", "mdpa", ".mdpa"),
    _foreign("PERMAS", "permas", ".post", ".dato"),
    _foreign("UGRID", "ugrid", ".ugrid"),
    _foreign("Netgen", "netgen", ".vol"),
    _foreign("FLAC3D", "flac3d", ".f3grid"),
)
FORMATS = (
    VTU,
    VTP,
    VTK_XML,
    PVD,
    VTK,
    VTKHDF,
    XDMF,
    EXODUS,
    CGNS,
    GMSH,
    ENSIGHT,
    STL,
    PLY,
    OFF,
    ABAQUS,
    ANSYS,
    DOLFIN,
    MED,
    H5M,
    TRAJECTORY,
    *_BY_SUFFIX_ONLY,
)
SUFFIXES = frozenset(suffix for f in FORMATS for suffix in f.suffixes)


def suffix_of(path: Path) -> str:
    """The suffix in lower case; "" for none."""
    return path.suffix.lower()


def sniff(path: Path) -> tuple[Format, tuple[str, ...]]:
    """(format, warnings) of the file.

    Raises:
        InvalidMesh: nothing in it, or nothing known.
    """
    if is_trajectory(path):
        return TRAJECTORY, ()
    if not path.is_file():
        raise InvalidMesh("expected a mesh file, got no such file; check the path")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise InvalidMesh("expected a mesh, got an empty file (0 bytes)")
    found = _by_content(head, path) or _by_suffix(path)
    suffix = suffix_of(path)
    if suffix and suffix not in found.suffixes and suffix in SUFFIXES:
        return found, (
            f"the content is {found.name} ({found.suffixes[0]}), not what the suffix {suffix} says",
        )
    return found, ()


def _by_content(head: bytes, path: Path) -> Format | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        return _xml(text)
    if head.startswith(b"\x89HDF"):
        return _hdf(path)
    if head.startswith(b"CDF") and head[3] in (1, 2, 5):
        return EXODUS
    for mark, found in _MARKS:
        if text.startswith(mark):
            return found
    if b"ADF Database" in head[:32]:
        return CGNS_ADF
    return _text_or_stl(text, path)


_MARKS = (
    (b"# vtk DataFile", VTK),
    (b"ply\n", PLY),
    (b"ply\r", PLY),
    (b"$MeshFormat", GMSH),
    (b"$NOD", GMSH),
    (b"OFF", OFF),
    (b"MeshVersionFormatted", MEDIT),
)


def _text_or_stl(text: bytes, path: Path) -> Format | None:
    suffix = suffix_of(path)
    if suffix == ".stl" or (text.startswith(b"solid") and b"facet" in text):
        return STL
    if suffix == ".msh":
        return ANSYS if text.startswith(b"(") else GMSH
    if suffix == ".inp":
        return ABAQUS if text.startswith(b"*") else AVS
    if text.startswith(b"FORMAT") and b"ensight" in text:
        return ENSIGHT
    return None


def _xml(text: bytes) -> Format | None:
    kinds: tuple[tuple[bytes, Format], ...] = (
        (b'type="UnstructuredGrid"', VTU),
        (b'type="PolyData"', VTP),
        (b'type="Collection"', PVD),
        (b"<VTKFile", VTK_XML),
        (b"<Xdmf", XDMF),
        (b"<dolfin", DOLFIN),
    )
    return next((found for mark, found in kinds if mark in text), None)


def _hdf(path: Path) -> Format:
    from .hdf5 import opened

    with opened(path) as file:
        keys = set(file)
    marks: tuple[tuple[set[str], Format], ...] = (
        ({"VTKHDF"}, VTKHDF),
        ({"CGNSLibraryVersion", " hdf5version", "Base"}, CGNS),
        ({"coord", "coordx", "num_nodes"}, EXODUS),
        ({"tstt"}, H5M),
        ({"ENS_MAA"}, MED),
    )
    for names, found in marks:
        if names & keys:
            return found
    if suffix_of(path) == ".cgns":
        return CGNS
    raise InvalidMesh(
        "expected an HDF5 file with a mesh (VTKHDF, CGNS, Exodus, MED or MOAB), got one with "
        f"{sorted(keys) or 'nothing'}; "
        "the heavy data of an XDMF is read through its .xdmf, a trajectory of MeshGraphNets as "
        f"{path.name}/NAME"
    )


def _by_suffix(path: Path) -> Format:
    suffix = suffix_of(path)
    if suffix in TRAJECTORY.suffixes:
        raise InvalidMesh(f"expected one trajectory, such as {path.name}/0, got the whole file")
    by_suffix: dict[str, Callable[[], Format]] = {}
    for found in _BY_SUFFIX_ONLY:
        for own in found.suffixes:
            by_suffix.setdefault(own, lambda f=found: f)  # type: ignore[misc]
    if suffix in by_suffix:
        return by_suffix[suffix]()
    if suffix in (*VTU.suffixes, *VTP.suffixes, *XDMF.suffixes, *VTK_XML.suffixes, *VTK.suffixes):
        raise InvalidMesh(f"expected a {suffix} file, got content that is not one")
    raise InvalidMesh(
        f"expected a mesh file of {', '.join(sorted(SUFFIXES))}, got "
        f"{path.suffix or 'no suffix'} with unknown content"
    )


def is_trajectory(path: Path) -> bool:
    """Whether a path leads on into a file, as `train.h5/trajectory_0`."""
    return path.parent.is_file()


def format_called(name: str) -> Format | None:
    """The format with a name such as "VTU"."""
    return next((f for f in (*FORMATS, CGNS_ADF) if f.name == name), None)


def format_of_suffix(suffix: str) -> Format | None:
    """The format written under a suffix such as ".vtu"."""
    return next((f for f in FORMATS if suffix.lower() in f.suffixes), None)
