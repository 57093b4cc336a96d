"""Airfoils as closed curves of chord 1: NACA's families, class and shape functions, and files.

Points go from the trailing edge over the upper side to the leading edge and back below, denser
where the curve bends. Cells are lines; regions are `upper`, `lower`, `leading` and `trailing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fieldcast.meshes import Mesh

Curve = Float[np.ndarray, "point 2"]
POINTS = 160
THICKNESS = np.array([0.2969, -0.1260, -0.3516, 0.2843, -0.1036])
"""Of NACA's sections with a sharp trailing edge: of sqrt(x), x, ..., x^4, per thickness over 5."""
OPENING = 0.0021
"""What the report's last factor is larger by."""
# Position of the camber's maximum: (m, k1), NACA report 537, for a design lift of .3.
_REFLEXLESS = {
    1: (0.0580, 361.4),
    2: (0.1260, 51.64),
    3: (0.2025, 15.957),
    4: (0.2900, 6.643),
    5: (0.3910, 3.230),
}
_DESIGN_LIFT = 0.3


def naca(
    camber: float, position: float, thickness: float, points: int = POINTS, sharp: bool = True
) -> Mesh:
    """Four digits: largest camber [chord] at a position [chord], thickness [chord]; 0.02, 0.4, 0.12
    is NACA 2412. The report's trailing edge is open by 2.1 % of the thickness, where not `sharp`.
    (NACA report 460, 1933.)

    Raises:
        ValueError: a thickness, camber or position for which there is no section.
    """
    if not (0 < thickness < 0.6 and 0 <= camber < 0.2 and (0.05 < position < 0.95 or not camber)):
        raise ValueError(
            "expected a thickness in (0, .6), a camber in [0, .2) at a position in (.05, .95), got "
            f"{thickness}, {camber}, {position}"
        )
    x = _stations(points)
    front = x < position
    p = position if camber else 0.5
    height = np.where(
        front,
        camber / p**2 * (2 * p * x - x**2),
        camber / (1 - p) ** 2 * (1 - 2 * p + 2 * p * x - x**2),
    )
    slope = np.where(front, 2 * camber / p**2 * (p - x), 2 * camber / (1 - p) ** 2 * (p - x))
    return _sides(x, height, slope, _half_thickness(x, thickness, sharp))


def naca_five_digits(
    lift: float, position: int, thickness: float, points: int = POINTS, sharp: bool = True
) -> Mesh:
    """Five digits without reflex: design lift coefficient, position of the largest camber
    [chord / 20], thickness [chord]; 0.3, 3, 0.12 is NACA 23012. (NACA report 537, 1935.)

    Raises:
        ValueError: numbers for which there is no section.
    """
    if position not in _REFLEXLESS or not (0 < thickness < 0.6 and 0 <= lift < 2):
        raise ValueError(
            f"expected a position in {list(_REFLEXLESS)}, a thickness in (0, .6) and a lift in "
            f"[0, 2), got {position}, {thickness}, {lift}"
        )
    m, k = _REFLEXLESS[position]
    k *= lift / _DESIGN_LIFT
    x = _stations(points)
    front = x < m
    height = np.where(
        front, k / 6 * (x**3 - 3 * m * x**2 + m**2 * (3 - m) * x), k * m**3 / 6 * (1 - x)
    )
    slope = np.where(front, k / 6 * (3 * x**2 - 6 * m * x + m**2 * (3 - m)), -k * m**3 / 6)
    return _sides(x, height, slope, _half_thickness(x, thickness, sharp))


def naca_called(name: str, points: int = POINTS, sharp: bool = True) -> Mesh:
    """The section of four or five digits, such as "2412" or "NACA 23012".

    Raises:
        ValueError: another name.
    """
    digits = name.upper().replace("NACA", "").strip()
    if digits.isdigit() and len(digits) == 4:
        numbers = int(digits[0]) / 100, int(digits[1]) / 10, int(digits[2:]) / 100
        return naca(*numbers, points, sharp)
    if digits.isdigit() and len(digits) == 5 and digits[2] == "0":
        lift = 0.15 * int(digits[0])
        return naca_five_digits(lift, int(digits[1]), int(digits[3:]) / 100, points, sharp)
    raise ValueError(f"expected a section of four or five digits without reflex, got {name!r}")


def class_shape(
    upper: Sequence[float], lower: Sequence[float], trailing: float = 0.0, points: int = POINTS
) -> Mesh:
    """y = sqrt(x) (1 - x) sum_i A_i B_i(x) + x t / 2 on either side, B_i Bernstein polynomials, t
    the thickness of the trailing edge [chord]; weights of the lower side are usually negative.
    (Kulfan, doi:10.2514/1.29958.)

    Raises:
        ValueError: sides that cross.
    """
    x = _stations(points)
    above, below = _class_sides(x, np.asarray(upper, float), np.asarray(lower, float), trailing)
    inner = (x > 0) & (x < 1)
    if (above[inner] <= below[inner]).any():
        raise ValueError("expected the upper side above the lower one, the sides cross")
    return closed_curve(np.stack([x, above], axis=1), np.stack([x, below], axis=1))


def _class_sides(
    x: np.ndarray, upper: np.ndarray, lower: np.ndarray, trailing: float
) -> tuple[np.ndarray, np.ndarray]:
    """y of both sides (..., station) of weights (..., weight)."""
    form = np.sqrt(x) * (1 - x)
    sides = [form * _bernstein(weights, x) for weights in (upper, lower)]
    return sides[0] + x * trailing / 2, sides[1] - x * trailing / 2


def class_shapes(
    upper: Float[np.ndarray, "row weight"],
    lower: Float[np.ndarray, "row weight"],
    points: int = POINTS,
) -> Float[np.ndarray, "row point 2"]:
    """The points of `class_shape` of many sections with sharp trailing edges; sides may cross."""
    x = _stations(points)
    above, below = _class_sides(x, upper, lower, 0.0)
    y = np.concatenate([above[:, ::-1], below[:, 1:-1]], axis=1)
    return np.stack([np.broadcast_to(np.r_[x[::-1], x[1:-1]], y.shape), y], axis=2)


def read_airfoil(path: Path, points: int = POINTS) -> Mesh:
    """Coordinates as in UIUC's collection, in either of its orders (Selig: around; Lednicer: sides
    apart, numbers of points first), moved to chord 1 and spaced anew.

    Raises:
        ValueError: a file that holds no airfoil.
    """
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        words = line.replace(",", " ").split()
        try:
            rows.append([float(w) for w in words[:2]] if len(words) >= 2 else [])
        except ValueError:
            rows.append([])
    found = np.array([row for row in rows if row])
    if len(found) < 7 or not np.isfinite(found).all():
        raise ValueError(f"{path}: expected rows of x and y, got {len(found)} of them")
    if found[0].min() > 1.5:  # numbers of points
        count = int(found[0, 0])
        upper, lower = found[1 : 1 + count], found[1 + count :]
        found = np.concatenate([upper[::-1], lower[1:]])
    return spaced(found, points)


def spaced(curve: Curve, points: int = POINTS, evenness: float = 0.0) -> Mesh:
    """A curve around an airfoil, from trailing edge to trailing edge, moved to chord 1 and spaced
    anew by cubic splines over its length: densely at the nose and, where `evenness` is 0, at the
    trailing edge.

    Raises:
        ValueError: a curve that isn't one.
    """
    from scipy.interpolate import CubicSpline

    keep = np.r_[True, np.linalg.norm(np.diff(curve, axis=0), axis=1) > 0]
    curve = curve[keep]
    nose = int(curve[:, 0].argmin())
    if not 1 < nose < len(curve) - 2:
        raise ValueError("expected points around an airfoil, from and to its trailing edge")
    tail = 0.5 * (curve[0] + curve[-1])
    along = tail - curve[nose]
    chord = float(np.linalg.norm(along))
    turn = np.array([[along[0], along[1]], [-along[1], along[0]]]) / chord
    curve = (curve - curve[nose]) @ turn.T / chord
    length = np.r_[0.0, np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()]
    spline = CubicSpline(length, curve)
    even = np.linspace(0, 1, points // 2 + 1)
    dense, open_ = 0.5 * (1 - np.cos(np.pi * even)), 1 - np.cos(np.pi / 2 * even)
    share = (1 - evenness) * dense + evenness * open_
    first = spline(length[nose] * (1 - share))
    second = spline(length[nose] + (length[-1] - length[nose]) * share)
    return closed_curve(first, second)


def closed_curve(upper: Curve, lower: Curve) -> Mesh:
    """The curve around an airfoil of two sides from nose to tail; the ends of an open trailing edge
    are joined.

    Raises:
        ValueError: a side that turns clockwise, so that upper is below.
    """
    sharp = bool(np.linalg.norm(upper[-1] - lower[-1]) < 1e-9)
    points = np.concatenate([upper[::-1], lower[1:-1] if sharp else lower[1:]])
    x, y = points.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() <= 0:
        raise ValueError("expected the upper side above the lower one")
    ids = np.arange(len(points))
    count = len(upper)
    regions = {
        "upper": ids[:count],
        "lower": np.r_[ids[count - 1 :], 0] if sharp else ids[count - 1 :],
        "leading": ids[[count - 1]],
        "trailing": ids[[0]] if sharp else ids[[0, -1]],
    }
    lines = np.stack([ids, np.roll(ids, -1)], axis=1)
    return Mesh(points, {"line": lines}, {k: np.sort(v) for k, v in regions.items()})


def around(mesh: Mesh) -> Int[np.ndarray, " point"]:
    """The points of an airfoil in order, from the trailing edge over the upper side and back; a
    sharp trailing edge comes first and last.

    Raises:
        ValueError: a mesh that isn't one closed curve with a region `trailing`.
    """
    lines = mesh.cells.get("line")
    if mesh.dim != 2 or lines is None or set(mesh.cells) != {"line"}:
        raise ValueError("expected a curve of lines in the plane: an airfoil")
    if "trailing" not in mesh.regions or len(lines) != len(mesh.points):
        raise ValueError("expected one closed curve with a region `trailing`")
    after = np.full(len(mesh.points), -1)
    after[lines[:, 0]] = lines[:, 1]
    tail = mesh.regions["trailing"]
    order = [int(tail[mesh.points[tail, 1].argmax()])]
    while len(order) <= len(lines) and after[order[-1]] not in (order[0], -1):
        order.append(int(after[order[-1]]))
    if len(order) != len(lines):
        raise ValueError("expected one closed curve, whose lines follow each other")
    return np.array([*order, order[0]] if len(tail) == 1 else order)


def _stations(points: int) -> Float[np.ndarray, " station"]:
    """From nose to tail, denser at both."""
    if points < 20:
        raise ValueError(f"expected at least 20 points, got {points}")
    return 0.5 * (1 - np.cos(np.pi * np.linspace(0, 1, points // 2 + 1)))


def _half_thickness(
    x: Float[np.ndarray, " station"], thickness: float, sharp: bool
) -> Float[np.ndarray, " station"]:
    powers = np.stack([np.sqrt(x), x, x**2, x**3, x**4])
    factors = THICKNESS + np.array([0.0, 0.0, 0.0, 0.0, 0.0 if sharp else OPENING])
    return 5 * thickness * np.maximum(np.round(factors @ powers, 12), 0.0)


def _sides(
    x: Float[np.ndarray, " station"],
    height: Float[np.ndarray, " station"],
    slope: Float[np.ndarray, " station"],
    half: Float[np.ndarray, " station"],
) -> Mesh:
    """Thickness across the camber line."""
    angle = np.arctan(slope)
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * half[:, None]
    middle = np.stack([x, height], axis=1)
    upper, lower = middle + across, middle - across
    if not half[-1] > 0:
        upper[-1] = lower[-1] = middle[-1]
    return closed_curve(upper, lower)


def _bernstein(
    weights: Float[np.ndarray, "*row term"], x: Float[np.ndarray, " station"]
) -> Float[np.ndarray, "*row station"]:
    n = weights.shape[-1] - 1
    terms = [comb(n, i) * x**i * (1 - x) ** (n - i) for i in range(n + 1)]
    return weights @ np.stack(terms)
