"""Column networks for models that are not written in Python.

One module normalises, answers, returns to units and clips. It is written as TorchScript (`.pt`, for
FTorch and LibTorch), as `torch.export` (`.pt2`), as netCDF weights for a network written in plain
Fortran (`.weights.nc`), with inputs and answers to compare with (`.reference.nc`). The first two
are torch's own archives; their readers trust them as they trust a library, so take them only from
where you take code from.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fieldcast.meshes import Cases
from fieldcast.meshes.files import write_files

from .column_network import ColumnPredictor
from .export_networks import SCALES, MeanAlone, Networks, Products, Told, WithSpread, column_module
from .stability import Layout, Limits
from .stacked import SLOPE
from .surrogate import Predictor

METADATA = "fieldcast.json"
"""The name of the metadata inside both archives."""


@dataclass(frozen=True)
class Export:
    """What a module is to be. `dtype` is that of weights and answers. With `spread` the module
    answers (mean, standard deviation), else the mean; the TorchScript one then still answers both
    by its part `spread`."""

    limits: Limits = field(default_factory=Limits)
    dtype: torch.dtype = torch.float32
    spread: bool = False


@dataclass(frozen=True)
class ExportedFiles:
    """Where they are."""

    script: Path
    program: Path
    weights: Path
    reference: Path


def export_module(
    predictor: Predictor, path: str | Path, cases: Cases, export: Export | None = None
) -> ExportedFiles:
    """Write `predictor` as `path`.pt, .pt2, .weights.nc and .reference.nc, the last with the
    answers to `cases`. All are written under temporary names and renamed.

    Raises:
        TypeError: a predictor that is not made of column networks.
        ValueError: limits of what it doesn't have, the spread of one network alone, or cases that
            it doesn't take.
    """
    if not isinstance(predictor, ColumnPredictor):
        raise TypeError(
            "expected a fitted ColumnNetwork, RandomizedPrior or MultiFidelity of two of those, "
            f"got {type(predictor).__name__}"
        )
    chosen = export or Export()
    inner = column_module(predictor, chosen.limits.bounds(predictor.reading), chosen.dtype)
    if chosen.spread and predictor.card.fit["members"] < 2:
        raise ValueError("expected an ensemble to export the spread of, got one network")
    module: nn.Module = inner if chosen.spread else MeanAlone(inner)
    rows = predictor.reading.raw_inputs(predictor.signature.checked_cases(cases))
    x = torch.as_tensor(rows).to(chosen.dtype)
    about = json.dumps(metadata(predictor, chosen))
    path = Path(path)
    files = {
        f"{path.name}.pt": script_archive(module, about),
        f"{path.name}.pt2": program_archive(module, x, about),
        f"{path.name}.weights.nc": weights_file(inner, predictor, about),
        f"{path.name}.reference.nc": reference_file(inner, x, about),
    }
    write_files(path.parent, files)
    return ExportedFiles(*(path.parent / name for name in files))


def metadata(predictor: ColumnPredictor, export: Export) -> dict[str, Any]:
    """Names, units and places of what goes in and comes out, JSON-able."""
    reading = predictor.reading
    return {
        "inputs": Layout.of_inputs(reading).to_json(),
        "outputs": Layout.of_outputs(reading).to_json(),
        "dtype": str(export.dtype).removeprefix("torch."),
        "answers": ["mean", "std"] if export.spread else ["mean"],
        "order": "names one behind the other, each level by level as in the training set",
        "recipe": type(predictor.recipe).__name__,
        "members": predictor.card.fit["members"],
        "training": predictor.card.training,
    }


def script_archive(module: nn.Module, about: str) -> bytes:
    """As TorchScript."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Deprecated in torch 2.13; FTorch and LibTorch read nothing else.
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(module)
        torch.jit.save(scripted, buffer, _extra_files={METADATA: about.encode()})
    return buffer.getvalue()


def program_archive(module: nn.Module, x: torch.Tensor, about: str) -> bytes:
    """As `torch.export`, for any number of columns."""
    buffer = io.BytesIO()
    some = x[:1].expand(3, *x.shape[1:]).contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(module, (some,), dynamic_shapes=({0: batch},))
        torch.export.save(program, buffer, extra_files={METADATA: about})
    return buffer.getvalue()


def weights_file(module: WithSpread, predictor: ColumnPredictor, about: str) -> bytes:
    """Weights and scales as netCDF. Of layer k, `<net>_w<k>` (network, in, out) and `<net>_b<k>`;
    in Fortran w(out, in, network)."""
    reading = predictor.reading
    arrays = {name: getattr(module, name).numpy() for name in SCALES}
    dims: dict[str, tuple[str, ...]] = {
        name: ("input" if name.startswith("x_") else "output",) for name in SCALES
    }
    nets: dict[str, nn.Module] = {"net": module.net}
    if isinstance(module.net, Told):
        nets = {"low": module.net.low, "high": module.net.high}
        arrays |= {k: getattr(module.net, k).numpy() for k in ("slope", "offset")}
        dims |= {"slope": ("output",), "offset": ("output",)}
    for name, net in nets.items():
        assert isinstance(net, Networks)
        for k, layer in enumerate([*net.hidden, net.last], 1):
            assert isinstance(layer, Products)
            weight, bias = layer.weight.numpy(), layer.bias.numpy()[:, 0]
            before, after = (f"{name}_{n}" for n in weight.shape[1:])
            arrays |= {f"{name}_w{k}": weight, f"{name}_b{k}": bias}
            dims |= {f"{name}_w{k}": (name, before, after), f"{name}_b{k}": (name, after)}
    told = module.net if isinstance(module.net, Told) else None
    values = {
        "negative_slope": SLOPE,
        "widening": module.widening,
        "members": int(predictor.card.fit["members"]),
        "low_members": 0 if told is None else told.low.members,
        "layers": len(predictor_layers(nets)),
        "high_is_given_inputs": int(told is not None and told.beside),
        "high_adds_line": int(told is not None and told.line),
        "metadata": about,
        "formula": FORMULA,
    }
    return netcdf(arrays, dims, values, labels(reading))


FORMULA = (
    "z = (min(max(x, x_low), x_high) - x_shift) / x_scale; h = z; layer by layer h = h w + b, but "
    "for the last h = max(h, negative_slope h); member m is network m, plus network m + members "
    "where there are twice as many networks (beta is in their last layer); y = min(max(mean over "
    "members * y_scale + y_shift, y_low), y_high); std = widening * std over members (n - 1) * "
    "y_scale. With low and high: h of member m of high starts as [z, low_m(z)] "
    "(high_is_given_inputs), else low_m(z), and slope low_m + offset is added (high_adds_line); "
    "low_m is the one network of low where low_members is 1."
)


def predictor_layers(nets: Mapping[str, nn.Module]) -> list[nn.Module]:
    """Those of the last network."""
    last = list(nets.values())[-1]
    assert isinstance(last, Networks)
    return [*last.hidden, last.last]


def reference_file(module: WithSpread, x: torch.Tensor, about: str) -> bytes:
    """Inputs and what the module answers to them, as netCDF."""
    with torch.no_grad():
        mean, std = module(x)
    arrays = {"inputs": x.numpy(), "mean": mean.numpy(), "std": std.numpy()}
    dims = {"inputs": ("column", "input"), **dict.fromkeys(("mean", "std"), ("column", "output"))}
    return netcdf(arrays, dims, {"metadata": about}, {})


def labels(reading: Any) -> dict[str, list[str]]:
    """What each input and output is."""
    layouts = {"input": Layout.of_inputs(reading), "output": Layout.of_outputs(reading)}
    return {k: [layout.told(i) for i in range(layout.size)] for k, layout in layouts.items()}


def netcdf(
    arrays: Mapping[str, np.ndarray],
    dims: Mapping[str, tuple[str, ...]],
    values: Mapping[str, Any],
    names: Mapping[str, list[str]],
) -> bytes:
    """A netCDF file with arrays, attributes, and the `names` of some dimensions' entries as
    characters, `<dimension>_name`."""
    import netCDF4

    data = netCDF4.Dataset("export.nc", "w", memory=1 << 20)
    for name, array in arrays.items():
        for dim, size in zip(dims[name], array.shape, strict=True):
            if dim not in data.dimensions:
                data.createDimension(dim, size)
        data.createVariable(name, array.dtype, dims[name])[:] = array
    for dim, entries in names.items():
        text = np.array([entry.encode() for entry in entries])
        data.createDimension(f"{dim}_length", text.dtype.itemsize)
        variable = data.createVariable(f"{dim}_name", "S1", (dim, f"{dim}_length"))
        variable[:] = text.view("S1").reshape(len(text), -1)
    data.setncatts(values)
    return bytes(data.close())
