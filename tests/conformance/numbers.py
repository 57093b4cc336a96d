"""All numbers of a prediction, sample or case by name, to be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fieldcast.meshes import Case, Prediction, Sample

LEVEL = 0.8


def case_numbers(case: Case) -> dict[str, np.ndarray]:
    """Coordinates, cells, times, parameters and known fields."""
    found = {"points": case.mesh.points, "times": case.times}
    found |= {f"cells {k}": block for k, block in case.mesh.cells.items()}
    found |= {f"parameter {k}": s.value for k, s in case.parameters.items()}
    return found | {f"known {k}": f.values for k, f in case.fields.items()}


def sample_numbers(sample: Sample) -> dict[str, np.ndarray]:
    """Those of the case, fields and scalars."""
    found = case_numbers(sample.case)
    found |= {f"field {k}": f.values for k, f in sample.fields.items()}
    return found | {f"scalar {k}": s.value for k, s in sample.scalars.items()}


def prediction_numbers(prediction: Prediction) -> dict[str, np.ndarray]:
    """Means, standard deviations and their parts, the ends of an interval, the trust score."""
    found = {f"mean {k}": f.values for k, f in prediction.mean.items()}
    found |= {f"std {k}": f.values for k, f in (prediction.std or {}).items()}
    found |= {f"scalar {k}": e.mean for k, e in prediction.scalars.items()}
    known = {k: e.std for k, e in prediction.scalars.items() if e.std is not None}
    found |= {f"scalar std {k}": std for k, std in known.items()}
    ends = {"lower": prediction.interval(LEVEL)[0], "upper": prediction.interval(LEVEL)[1]}
    for where, values in {**ends, **(prediction.parts or {})}.items():
        found |= {f"{where} {k}": f.values for k, f in values.fields.items()}
        found |= {f"{where} scalar {k}": s.value for k, s in values.scalars.items()}
    return found | {"trust": np.array([prediction.trust.score])}


def copied(numbers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of their own, to compare with later."""
    return {name: values.copy() for name, values in numbers.items()}


def identical(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> bool:
    """Bit for bit."""
    pairs = zip(found.values(), expected.values(), strict=True)
    return list(found) == list(expected) and all(np.array_equal(a, b) for a, b in pairs)


def assert_identical(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], when: str
) -> None:
    """Bit for bit."""
    assert list(found) == list(expected), f"{when}: other names"
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=f"{when}: {name}", strict=True)


def _limits(
    numbers: Mapping[str, np.ndarray], prediction: Prediction, tolerance: float
) -> dict[str, float]:
    """`tolerance` of the largest value of each array. Spreads are small differences of large
    numbers: 1000 times that, of the largest spread of the output."""
    largest = {k: float(np.abs(v).max(initial=1e-300)) for k, v in numbers.items()}
    limits = {k: tolerance * size for k, size in largest.items()}
    for part in ("std", *(prediction.parts or {})):
        for label in prediction.mean:
            if f"{part} {label}" in limits:
                limits[f"{part} {label}"] = 1e3 * tolerance * largest[f"std {label}"]
        for label in prediction.scalars:
            name = f"scalar std {label}" if part == "std" else f"{part} scalar {label}"
            if name in limits:
                limits[name] = 1e3 * tolerance * largest[f"scalar std {label}"]
    return limits


def assert_all_identical(
    found: Sequence[Prediction], expected: Sequence[Prediction], when: str
) -> None:
    """Every prediction bit for bit."""
    for one, other in zip(found, expected, strict=True):
        assert_identical(
            prediction_numbers(one), prediction_numbers(other), f"{when}, case {other.case.label}"
        )


def assert_all_close(
    found: Sequence[Prediction], expected: Sequence[Prediction], tolerance: float, when: str
) -> None:
    """Every prediction within `tolerance`."""
    for one, other in zip(found, expected, strict=True):
        numbers, wanted = prediction_numbers(one), prediction_numbers(other)
        limits = _limits(wanted, other, tolerance)
        what = f"{when}, case {other.case.label}, tolerance {tolerance:.0e}"
        assert list(numbers) == list(wanted), f"{what}: other names"
        for name, values in wanted.items():
            np.testing.assert_allclose(
                numbers[name], values, rtol=0.0, atol=limits[name], err_msg=f"{what}: {name}"
            )
