"""What a host model gets: an exported ensemble in a process without fieldcast, its numbers, its
speed and its size.

16 networks of three hidden layers of 96 from T and q on 60 levels to 60 heating rates, as
TorchScript and as `torch.export`. Gaps are relative to the largest answer; latency is that of 1000
columns by one thread, the median of 20 calls after 5.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, table
from column_ensemble import columns, recipe, truth

from fieldcast.meshes import Cases
from fieldcast.surrogates import Predictor
from fieldcast.surrogates.export import Export, export_module

ASKED, TRAINED = 1000, 4000
READ = """
import json, statistics, sys, time
import netCDF4, numpy as np, torch
torch.set_num_threads(1)
path = sys.argv[1]
data = netCDF4.Dataset(path + ".reference.nc")
x, y = (torch.from_numpy(np.asarray(data[k][:])) for k in ("inputs", "mean"))
p = torch.from_numpy(np.load(path + ".predict.npy"))
modules = {"TorchScript": torch.jit.load(path + ".pt"), "torch.export": None}
modules["torch.export"] = torch.export.load(path + ".pt2").module()
assert not [m for m in sys.modules if m.startswith("fieldcast")]
found = {}
with torch.no_grad():
    for name, module in modules.items():
        said = [(module(x[:n]), n) for n in (1, 7, len(x))]
        gap = max(float((s - y[:n]).abs().max() / y.abs().max()) for s, n in said)
        off = float((said[-1][0].double() - p).abs().max() / p.abs().max())
        taken = []
        for _ in range(25):
            start = time.perf_counter()
            module(x)
            taken.append(time.perf_counter() - start)
        found[name] = [gap, off, 1e3 * statistics.median(taken[5:])]
print(json.dumps(found))
"""


def main() -> None:
    given = arguments(__doc__ or "")
    clock = Clock()
    predictor = recipe(50 if given.quick else 500).fit(truth(columns(TRAINED)))
    asked = columns(ASKED, 1)
    said = predictor.predict(asked).mean["heating"].values.reshape(ASKED, -1)
    bars, rows = [], []
    for dtype in (torch.float32, torch.float64):
        for name, gap, off, latency, size in exported(predictor, asked, said, dtype):
            kind = f"{name}, {str(dtype).removeprefix('torch.')}"
            rows.append((kind, gap, off, latency, size))
            gap = max(gap, off)
            bars.append(Bar(f"fresh process / here, gap: {kind}", gap, 1e-6, ASKED, clock()))
    head = ("format", "gap to the reference file", "gap to predict", "ms for 1000", "MiB")
    finish("column_export", given, bars, {"exported": table(head, rows)})


def exported(
    predictor: Predictor, asked: Cases, said: np.ndarray, dtype: torch.dtype
) -> Iterator[tuple[str, float, float, float, float]]:
    """Name, gaps, latency [ms] and size [MiB] of either format."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "columns"
        files = export_module(predictor, path, asked, Export(dtype=dtype))
        np.save(f"{path}.predict.npy", said)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", READ, str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        sizes = {"TorchScript": files.script, "torch.export": files.program}
        for name, figures in json.loads(done.stdout).items():
            yield name, *figures, sizes[name].stat().st_size / 2**20


if __name__ == "__main__":
    main()
