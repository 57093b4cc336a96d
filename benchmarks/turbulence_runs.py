"""One solver of turbulence in a process of its own, for `turbulence_speed`: reads "go", runs its
steps on one thread, says how many seconds of processor time they took. 64 x 64, single precision.

    python benchmarks/turbulence_runs.py NAME ROWS STEPS
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial

N, STEP = 64, 5e-4
Run = Callable[[int], object]


def own(kind: str, rows: int) -> Run:
    """fieldcast's: `bare`, or with a coefficient that varies in space."""
    import torch

    from fieldcast.solvers.spectral import Grid, random_spectrum
    from fieldcast.solvers.turbulence import Flow, Flux, Skew, Stepper
    from fieldcast.solvers.turbulence_closures import CoefficientField, smagorinsky

    torch.set_num_threads(1)
    grid = Grid(N)
    values = 0.0077 * (1.0 + 0.5 * torch.rand(rows, N, N))
    closures = {
        "bare": None,
        "flux, local": CoefficientField(values, local=True),
        "skew": None,
        "skew, mean": smagorinsky(0.09),
        "skew, varying": CoefficientField(values),
        "skew, local": CoefficientField(values, local=True),
    }
    form = Skew() if kind.startswith("skew") else Flux()
    stepper, closure = Stepper(Flow(), grid, STEP, form), closures[kind]
    start = stepper.start(random_spectrum(grid, rows, deviation=5.0), closure)

    def run(steps: int) -> object:
        with torch.inference_mode():
            return stepper.advanced(start, steps, closure).vorticity.abs().sum().item()

    return run


def pyqg_jax(rows: int) -> Run:
    """The barotropic model of pyqg-jax: Adams-Bashforth of order 3, an exponential filter."""
    import jax
    from pyqg_jax import bt_model, state, steppers

    model = bt_model.BTModel(nx=N, L=6.2831853, rek=0.1, precision=state.Precision.SINGLE)
    stepped = steppers.SteppedModel(model, steppers.AB3Stepper(dt=STEP))
    start = jax.vmap(stepped.create_initial_state)(jax.random.split(jax.random.key(0), rows))

    def run(steps: int) -> object:
        def all_steps(s: object) -> object:
            return jax.lax.fori_loop(0, steps, lambda _, x: stepped.step_model(x), s)

        return jax.block_until_ready(compiled(all_steps)(start))

    return run


def jax_cfd(rows: int) -> Run:
    """The spectral solver of jax-cfd: a Runge-Kutta step of four stages, 2/3 rule."""
    import jax
    import jax.numpy as jnp
    from jax_cfd.base import grids
    from jax_cfd.spectral import equations, time_stepping

    grid = grids.Grid((N, N), domain=((0, 2 * jnp.pi),) * 2)
    equation = equations.NavierStokes2D(1.0 / 20000.0, grid, drag=0.1, smooth=True)
    step = time_stepping.crank_nicolson_rk4(equation, STEP)
    noise = jax.random.normal(jax.random.key(0), (rows, N, N), dtype=jnp.float32)
    start = jnp.fft.rfftn(noise, axes=(1, 2))

    def run(steps: int) -> object:
        def all_steps(w: object) -> object:
            return jax.lax.fori_loop(0, steps, lambda _, x: step(x), w)

        return jax.block_until_ready(compiled(all_steps)(start))

    return run


COMPILED: dict[str, Callable[[object], object]] = {}


def compiled(steps: Callable[[object], object]) -> Callable[[object], object]:
    """All rows by one program, made once: the first run is not timed."""
    import jax

    return COMPILED.setdefault("steps", jax.jit(jax.vmap(steps)))


def main() -> None:
    name, rows, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Before jax is imported: XLA takes one thread, on one core.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ.update(XLA_FLAGS=flags, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    peers = {"pyqg-jax": pyqg_jax, "jax-cfd": jax_cfd}
    run = peers[name](rows) if name in peers else partial(own, name)(rows)
    run(steps)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        run(steps)
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
