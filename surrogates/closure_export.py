"""Learned closures for models that are not written in Python: the vorticity at points in, what the
closure adds to its rate out. As TorchScript (`.pt`, for FTorch and LibTorch) and `torch.export`
(`.pt2`) of one grid, any number of flows, with answers to compare with (`.reference.nc`)."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fieldcast.meshes.files import write_files

from .closure import ClosurePredictor
from .closure_laws import Learned, restored
from .export import METADATA, netcdf, program_archive


class TendencyModule(nn.Module):
    """(flow, y, x) to (flow, y, x), both of v_x - u_y on a square of 2 pi, x running fastest."""

    def __init__(self, predictor: ClosurePredictor, points: int) -> None:
        super().__init__()
        law = restored(predictor.law.kept())
        if isinstance(law, Learned):
            # Weights become constants of what is traced.
            law.policy.requires_grad_(False)
        self.predictor = replace(predictor, law=law)
        self.environment = predictor.environment.resized(points)

    def forward(self, vorticity: Tensor) -> Tensor:
        environment = self.environment
        spectrum = environment.spectra_of(vorticity)
        state = environment.state(spectrum)
        found = environment.tendency(spectrum, self.predictor.coefficients(environment, state))
        return found.to(vorticity.dtype)


@dataclass(frozen=True)
class ExportedClosure:
    """Where the files are."""

    script: Path
    program: Path
    reference: Path


def export_closure(
    predictor: ClosurePredictor, path: str | Path, vorticity: Float[np.ndarray, "flow y x"]
) -> ExportedClosure:
    """Write a closure for the grid of `vorticity`, at least two flows, with its answers to those;
    under temporary names that are renamed."""
    if vorticity.ndim != 3 or len(vorticity) < 2 or vorticity.shape[1] != vorticity.shape[2]:
        raise ValueError(
            f"expected at least two flows on a square of points, got {vorticity.shape}"
        )
    points, path = vorticity.shape[-1], Path(path)
    module = TendencyModule(predictor, points).eval()
    x = torch.as_tensor(np.array(vorticity), dtype=torch.float32)
    with torch.no_grad():
        answers = module(x).numpy()
        # Kept tensors are made before they are traced.
        files = {
            f"{path.name}.pt": _traced(module, x, about(predictor, points)),
            f"{path.name}.pt2": program_archive(module, x, about(predictor, points)),
        }
    arrays = {"vorticity": x.numpy(), "tendency": answers}
    dims = dict.fromkeys(arrays, ("flow", "y", "x"))
    files[f"{path.name}.reference.nc"] = netcdf(
        arrays, dims, {"metadata": about(predictor, points)}, {}
    )
    write_files(path.parent, files)
    return ExportedClosure(*(path.parent / name for name in files))


def about(predictor: ClosurePredictor, points: int) -> str:
    """What goes in and comes out, as JSON."""
    told: dict[str, Any] = {
        "input": "vorticity v_x - u_y (flow, y, x), square of 2 pi, time as in the equation",
        "output": "what the closure adds to its rate",
        "points": points,
        "law": type(predictor.law).__name__,
        "fit": {k: v for k, v in predictor.card.fit.items() if k != "tried"},
    }
    return json.dumps(told)


def _traced(module: nn.Module, x: Tensor, told: str) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Deprecated in torch 2.13; FTorch and LibTorch read nothing else.
        warnings.simplefilter("ignore")
        script = torch.jit.trace(module, (x,), check_trace=False)
        torch.jit.save(script, buffer, _extra_files={METADATA: told.encode()})
    return buffer.getvalue()
