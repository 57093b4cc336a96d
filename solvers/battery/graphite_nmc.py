"""The graphite / NMC532 cell of Hassanaly et al. 2024 (doi:10.1016/j.est.2024.113103).

Coefficients are those of the fits that its authors publish beside the measured tables (NREL,
PINNSTRIPES and BATMODS-lite); electrolyte "Gen2".
"""

from __future__ import annotations

import numpy as np

from fieldcast.meshes.battery import (
    Cell,
    Electrode,
    Electrolyte,
    Expansion,
    PowerOfTen,
    Root,
    Series,
)

NEGATIVE_POTENTIAL = Series(
    (
        1878.6244900261463,
        -4981.580023016213,
        516.2941996957871,
        6452.38177755237,
        -436.0524457974526,
        1264.0514576769442,
        -20918.656956191975,
        12954.334261316431,
        28871.72866007402,
        -37943.83286204571,
        34.11141793217983,
        29363.16490602074,
        -25774.496334571464,
        11073.868226559767,
        -2702.638445370805,
        375.62895901410747,
        -28.064663950113868,
        1.1265244540945243,
    )
)
POSITIVE_POTENTIAL = Series(
    (
        -43309.69063512314,
        122888.63938515769,
        -69735.99554716503,
        -59749.183217994185,
        25744.002733171154,
        15730.398058573825,
        54021.915506318735,
        -44566.03206954511,
        64.32177924593454,
        -7780.173422833786,
        1117.4042221859695,
        7387.492376558274,
        -7237.289515884936,
        -705.4465901574707,
        17170.20236584321,
        -42.60228181558803,
        -23266.56994359366,
        10810.92851132453,
        2545.4065429021307,
        1.6554268823619098,
        751.3515882152476,
        -4447.12851190078,
        3727.268889820381,
        -1331.1791971457515,
        227.4712483170547,
        -17.646894926746256,
        0.8568207255402533,
        -2.34505930698951,
        5.059010555584711,
    )
)
POSITIVE_EXCHANGE = Series(
    tuple(
        9.0 * c
        for c in (
            16.50452829641290,
            -75.23567141488800,
            124.0524690073040,
            -94.16571081287610,
            32.49768821737960,
            -3.585290065824760,
        )
    )
)
POSITIVE_DIFFUSIVITY = PowerOfTen(
    2.25,
    Series(
        (
            -250.9010843479270,
            2391.026725259970,
            -4868.420267611360,
            -83.31104102921070,
            10576.36028329000,
            -12683.24548348120,
            5016.272167775530,
            982.4896659649480,
            -1502.439339070900,
            472.3709304247700,
            -65.26092046397090,
        )
    ),
)
RESTING = 1.2
"""Of the electrolyte [kmol/m^3]."""


def graphite_nmc(temperature: float = 303.15) -> Cell:
    """The cell, discharged at 2 C from 91 % and 39 %; solid properties are those of 303.15 K."""
    negative = Electrode(
        thickness=44e-6,
        radius=4e-6,
        active=0.5430727763,
        porosity=0.4,
        largest=30530.0,
        start=0.91,
        diffusivity=Series((3e-14,)),
        exchange=Root(0.675 * 30.53 * RESTING**0.5),
        potential=NEGATIVE_POTENTIAL,
        conductivity=2.16,
        efficiency=0.4**2,
    )
    positive = Electrode(
        thickness=42e-6,
        radius=1.8e-6,
        active=0.47662,
        porosity=0.4,
        largest=49600.0,
        start=0.39,
        diffusivity=POSITIVE_DIFFUSIVITY,
        exchange=POSITIVE_EXCHANGE,
        potential=POSITIVE_POTENTIAL,
        conductivity=2.16,
        efficiency=0.4**2,
    )
    return Cell(
        negative,
        positive,
        gen2(temperature),
        area=1.4e-3,
        current=2 * 1.89e-2,
        duration=1350.0,
        temperature=temperature,
    )


def gen2(temperature: float) -> Electrolyte:
    """LiPF6 in carbonates; the fits, in kmol/m^3 and kelvin, at a fixed temperature."""
    t = temperature

    def diffusivity(c: np.ndarray) -> np.ndarray:
        d = t + 24.83763 - 64.07366 * c
        power = -0.5688226 - 1607.003 / d + (-0.8108721 + 475.291 / d) * c
        return 1e-4 * 10.0 ** (power + (-0.005192312 - 33.43827 / d) * c**2)

    transference = Series(
        (
            -2.876102e-7 * t**2 + 2.077407e-4 * t - 0.03881203,
            1.161463e-6 * t**2 - 8.6825e-4 * t + 0.1777266,
            -6.766258e-7 * t**2 + 6.389189e-4 * t + 0.3091761,
        )
    )
    conductivity = Series(
        (
            float(np.polyval((-2.791965e-9, 3.377143e-6, -1.532707e-3, 0.3090003, -23.35671), t)),
            float(np.polyval((1.653786e-8, -1.99876e-5, 9.071155e-3, -1.828064, 138.0976), t)),
            float(np.polyval((-2.887587e-8, 3.483638e-5, -1.583677e-2, 3.195295, -241.4638), t)),
            float(np.polyval((1.909446e-4, -8.038545e-2, 9.00341), t)),
            0.0,
        )
    )
    factor = Series(
        (
            0.54 * np.exp(329.0 / t),
            -0.00225 * np.exp(1360.0 / t),
            1.0 + 0.341 * np.exp(261.0 / t),
        )
    )
    return Electrolyte(
        concentration=1e3 * RESTING,
        thickness=20e-6,
        porosity=0.4,
        diffusivity=Expansion.of(diffusivity, 0.05, 3.0),
        conductivity=conductivity,
        transference=transference,
        factor=factor,
        efficiency=0.4**2,
    )
