"""Aging of cells from discharges: a synthetic one, whose truth is known, and a measured pouch cell,
whose model is wrong.

    python examples/battery.py                 # the synthetic cell
    python examples/battery.py FOLDER          # and NMC_25degC_{1C,2C}.csv with its BPX file there
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fieldcast.meshes import Sample, Scalar
from fieldcast.meshes.battery import VOLTAGE
from fieldcast.pipelines.battery import Calibration, Noise, calibrate
from fieldcast.pipelines.battery_report import lines, write_calibration
from fieldcast.pipelines.discharges import (
    Training,
    discharge_of,
    error_of,
    placed,
    read_discharge,
    trained,
)
from fieldcast.solvers.battery import SingleParticle, graphite_nmc, read_bpx

BOX = {"deg_i0_a": (0.5, 4.0), "deg_ds_c": (1.0, 10.0)}
NEAR = {"deg_i0_a": (0.2, 5.0), "deg_ds_c": (0.2, 5.0)}
"""About the values of the BPX file."""


def synthetic() -> Calibration:
    """Twice the kinetics and the diffusivity of the reference, seen through noise of 1 mV."""
    model = trained(Training(graphite_nmc(), BOX, "single_particle"))
    case = discharge_of(model)
    solved = SingleParticle(graphite_nmc()).solve(placed(case, dict.fromkeys(BOX, 2.0)))
    v = solved.scalars[VOLTAGE].value
    noisy = v + np.random.default_rng(3).normal(0.0, 1e-3, len(v))
    data = Sample(case, {}, {VOLTAGE: Scalar(noisy, "V")})
    return calibrate(model, data, BOX, Noise(model=error_of(model, data)))


def measured(folder: Path, rate: float) -> Calibration:
    """The pouch cell by PyBaMM's SPMe, as good here as the full model: polynomials of 25 runs, the
    posterior, a page."""
    cell = read_bpx(folder / "nmc_pouch_cell_BPX.json", rate, duration=0.9 * 3600.0 / rate)
    model = trained(Training(cell, NEAR, "spme"))
    data = read_discharge(folder / f"NMC_25degC_{rate:.0f}C.csv", discharge_of(model))
    found = calibrate(model, data, NEAR, Noise(model=error_of(model, data)))
    write_calibration(model, found, Path(f"nmc_{rate:.0f}C.html"))
    return found


if __name__ == "__main__":
    print("a synthetic cell:", *lines(synthetic()), sep="\n")
    for folder in sys.argv[1:]:
        for rate in (1.0, 2.0):
            print(f"\nmeasured, {rate:.0f} C:", *lines(measured(Path(folder), rate)), sep="\n")
