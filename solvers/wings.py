"""Wings as surfaces of quadrilaterals: airfoils along a span, tapered, swept, raised and twisted.

Half a wing stands on the plane y = 0; x is along the stream, z up. Its tip is open: sections are
`around` long from trailing edge to trailing edge, `along` the span.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fieldcast.meshes import Mesh

from .airfoils import around, class_shape
from .families import WEIGHTS, Family, Numbers, sides_of
from .solver import Range


@dataclass(frozen=True)
class Planform:
    """`span` of the half wing over the root's chord, which is 1; the tip's chord over the root's;
    the `sweep` of the quarter chord line and the `dihedral` [deg]; and the `twist` of the tip about
    its quarter chord [deg], nose up, which grows evenly."""

    span: float
    taper: float = 1.0
    sweep: float = 0.0
    dihedral: float = 0.0
    twist: float = 0.0

    def __post_init__(self) -> None:
        turned = max(abs(self.sweep), abs(self.dihedral), abs(self.twist))
        if not (self.span > 0 and 0 < self.taper <= 2 and turned < 80):
            raise ValueError(
                f"expected a positive span, a taper in (0, 2] and angles below 80 deg, got {self}"
            )


def wing(root: Mesh, tip: Mesh, planform: Planform, stations: int = 24) -> Mesh:
    """Between two airfoils with as many points each. Regions: `root`, `tip`, `leading`,
    `trailing`, `upper`, `lower`.

    Raises:
        ValueError: airfoils that do not match, or fewer than two stations.
    """
    order = around(root)[:-1] if len(root.regions["trailing"]) == 1 else around(root)
    if stations < 2 or len(tip.points) != len(root.points):
        raise ValueError(
            f"expected two airfoils with as many points each and at least 2 stations, got "
            f"{len(root.points)}, {len(tip.points)} and {stations}"
        )
    # Denser towards the tip.
    share = np.sin(np.pi / 2 * np.linspace(0, 1, stations))[:, None]
    x, z = ((1 - share) * root.points[:, k] + share * tip.points[:, k] for k in (0, 1))
    chord, angle = 1 + share * (planform.taper - 1), np.radians(planform.twist) * share
    ahead = x - 0.25
    out = planform.span * share
    points = np.stack(
        [
            0.25
            + chord * (ahead * np.cos(angle) + z * np.sin(angle))
            + out * np.tan(np.radians(planform.sweep)),
            np.broadcast_to(out, x.shape),
            chord * (z * np.cos(angle) - ahead * np.sin(angle))
            + out * np.tan(np.radians(planform.dihedral)),
        ],
        axis=-1,
    )
    ids = np.arange(x.size).reshape(x.shape)
    ring = ids[:, order]
    after = np.roll(ring, -1, axis=1)
    cells = np.stack([ring[:-1], ring[1:], after[1:], after[:-1]], axis=-1).reshape(-1, 4)
    regions = {name: ids[:, part].ravel() for name, part in root.regions.items()}
    regions |= {"root": ids[0], "tip": ids[-1]}
    return Mesh(points.reshape(-1, 3), {"quad": cells}, {k: np.sort(v) for k, v in regions.items()})


def _of_numbers(numbers: Numbers) -> Mesh:
    section = class_shape(*sides_of(numbers))
    return wing(section, section, Planform(*(numbers[k] for k in PLANFORM)))


PLANFORM = {
    "span": Range(3.0, 6.0),
    "taper": Range(0.3, 1.0),
    "sweep": Range(0.0, 35.0, "deg"),
    "dihedral": Range(0.0, 8.0, "deg"),
    "twist": Range(-5.0, 0.0, "deg"),
}
WINGS = Family(_of_numbers, {**WEIGHTS, **PLANFORM})
"""Of one section by class and shape functions (Kulfan, doi:10.2514/1.29958)."""
