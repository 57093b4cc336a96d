"""Training of Gaussian processes: ours beside a loop over scikit-learn's, on the same data in the
same run.

500 points, 22 inputs, 32 outputs (POD coefficients of plate fields), one start each (from more,
ours drops the worse ones early); equal bounds and start, no prior and no linear part, so that both
maximise the same likelihood. scikit-learn is timed on some outputs and the sum is scaled by their
number; ours is timed on the same ones, alternating.
"""

from __future__ import annotations

import numpy as np
import torch
from bars import Bar, Clock, arguments, finish, say, table
from plates import plate_sets
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from threadpoolctl import threadpool_limits

from fieldcast.meshes import Samples
from fieldcast.surrogates import MMGP, Training
from fieldcast.surrogates.gp import BOUNDS, NOISE_BOUNDS, fit_gps, start_points

TRAINING = Training(starts=1, iterations=200, prior=False, linear=False)


def data(cases: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (case, 22) and the coefficients of 16 modes of U1 and of sig22, all standardised."""
    train, _ = plate_sets("P1", "2k", cases, 200 if cases == 500 else 60)
    recipe = MMGP(shape_modes=16, shape_tolerance=0.0, training=Training(starts=1, iterations=1))
    predictor = recipe.fit(Samples.pack(train))
    found = [predictor.model.fields[name].training() for name in ("U1", "sig22")]
    x = found[0][0].numpy()
    y = np.concatenate([t[1].numpy() for t in found], axis=1)
    return x, (y - y.mean(0)) / y.std(0)


def ours(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds and negative log likelihoods."""
    clock = Clock()
    columns = [torch.as_tensor(y[:, [k]]) for k in range(y.shape[1])]
    found = fit_gps(torch.as_tensor(x), columns, TRAINING)
    return clock(), np.array([p.nll for p in found])


def sklearns(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The same by scikit-learn, from the same starts, in a loop."""
    d = x.shape[1]
    kernel = ConstantKernel(1.0, np.exp(BOUNDS["signal"])) * Matern(
        np.ones(d), np.exp(BOUNDS["lengthscale"]), nu=2.5
    ) + WhiteKernel(1e-3, np.exp(NOISE_BOUNDS))
    clock, nlls = Clock(), []
    for k in range(y.shape[1]):
        model = GaussianProcessRegressor(
            kernel, alpha=1e-10, optimizer=_optimiser(d, k), normalize_y=False
        )
        nlls.append(-model.fit(x, y[:, k]).log_marginal_likelihood_value_)
    return clock(), np.array(nlls)


def _optimiser(d: int, seed: int):  # type: ignore[no-untyped-def]
    """L-BFGS-B from our starts, in scikit-learn's order of parameters (signal, length scales,
    noise)."""
    from scipy.optimize import minimize

    def optimise(objective, initial_theta, bounds):  # type: ignore[no-untyped-def]
        best = None
        for start in start_points(d, TRAINING, seed):
            theta = np.concatenate([start[-3:-2], start[:-3], start[-1:]])
            found = minimize(
                objective,
                theta,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": TRAINING.iterations, "maxfun": 2 * TRAINING.iterations},
            )
            if best is None or found.fun < best.fun:
                best = found
        return best.x, best.fun

    return optimise


def main() -> None:
    given = arguments(__doc__ or "")
    cases, compared = (120, 8) if given.quick else (500, 2)
    x, y = data(cases)
    whole, _ = ours(x, y)
    say(f"ours, all {y.shape[1]} outputs: {whole:.1f} s")
    rows, theirs_total, ours_total, gaps = [], 0.0, 0.0, []
    chosen = np.linspace(0, y.shape[1] - 1, compared).astype(int)
    for k in chosen:
        theirs, nll_theirs = sklearns(x, y[:, [k]])
        mine, nll_mine = ours(x, y[:, [k]])
        theirs_total, ours_total = theirs_total + theirs, ours_total + mine
        gaps.append(float(nll_mine[0] - nll_theirs[0]))
        rows.append((int(k), theirs, mine, f"{nll_theirs[0]:.2f}", f"{nll_mine[0]:.2f}"))
        say("output", k, f"scikit-learn {theirs:.1f} s, ours {mine:.2f} s")
    scaled = theirs_total / compared * y.shape[1]
    rows.append(("all (scikit-learn scaled)", scaled, whole, "", ""))
    goal = 7.5 if given.quick else 15.0
    bars = [
        Bar(
            "GP training: times faster than scikit-learn",
            scaled / whole,
            goal,
            len(x),
            whole,
            least=True,
            full_goal=15.0 if given.quick else None,
        ),
        Bar(
            "GP training: worst excess of the negative log likelihood",
            max(gaps),
            0.5,
            compared,
            ours_total,
        ),
    ]
    head = ("output", "scikit-learn s", "fieldcast s", "scikit-learn nll", "fieldcast nll")
    finish("gp_fit", given, bars, {"training": table(head, rows)})


if __name__ == "__main__":
    with threadpool_limits(2):
        main()
