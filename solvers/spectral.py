"""Periodic squares by Fourier series, in torch: transforms, derivatives, filters, spectra.

Fields are (row, y, x) on the points 2 pi (i, j) / n; rows are flows side by side. Spectra are the
coefficients of exp(i (k x + l y)), (row, k, l) with k >= 0, l in the order of `torch.fft.fftfreq`;
they do not depend on the number of points, so that a coarser grid keeps some of them as they are.
Derivatives are 0 at the highest wavenumber of an even grid, whose phase is not known. With k before
l, and (row, y, k) half way, products find what they multiply in one order of memory; the other way
round a step takes a fifth longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Complex, Float
from torch import Tensor

Physical = Float[Tensor, "row y x"]
Spectrum = Complex[Tensor, "row k l"]
Other = Complex[Tensor, "row _ _"]
"""A spectrum on another grid."""


@dataclass(frozen=True)
class Grid:
    """`n` x `n` points, `n` even. Tensors are made once and kept, of shapes (k, 1), (1, l) and
    (k, l)."""

    n: int
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.n < 4 or self.n % 2 or self.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                "expected an even number of points from 4 on, and float32 or float64, got "
                f"{self.n} and {self.dtype}"
            )

    @property
    def spacing(self) -> float:
        """Between two points."""
        return 2.0 * math.pi / self.n

    @cached_property
    def l_all(self) -> Tensor:
        """Wavenumbers along y, (1, l)."""
        return torch.fft.fftfreq(self.n, 1.0 / self.n, dtype=self.dtype, device=self.device)[None]

    @cached_property
    def k_all(self) -> Tensor:
        """Wavenumbers along x, (k, 1)."""
        k = torch.fft.rfftfreq(self.n, 1.0 / self.n, dtype=self.dtype, device=self.device)
        return k[:, None]

    @cached_property
    def square(self) -> Tensor:
        """k^2 + l^2."""
        return self.k_all**2 + self.l_all**2

    @cached_property
    def inverse(self) -> Tensor:
        """1 / (k^2 + l^2), 0 for the mean."""
        return torch.where(self.square > 0, 1.0 / self.square.clamp(min=1.0), 0.0)

    @cached_property
    def below(self) -> Tensor:
        """1 where |k| and |l| are below n/2, else 0."""
        return self.cut(self.n / 2)

    def cut(self, wavenumber: float) -> Tensor:
        """1 where |k| and |l| are below a wavenumber, else 0: a sharp filter."""
        kept = (self.k_all < wavenumber) & (self.l_all.abs() < wavenumber)
        return kept.to(self.dtype)

    @cached_property
    def dx(self) -> Tensor:
        """i k."""
        return torch.complex(torch.zeros_like(self.k_all), self.k_all * (self.k_all < self.n / 2))

    @cached_property
    def dx_half(self) -> Tensor:
        """i k for what is half way to points, (k)."""
        return self.dx[:, 0]

    @cached_property
    def dy(self) -> Tensor:
        """i l, over all k."""
        l_odd = self.l_all * (self.l_all.abs() < self.n / 2)
        return torch.complex(torch.zeros_like(self.square), l_odd.expand_as(self.square))

    @cached_property
    def to_velocity(self) -> Tensor:
        """(u, v) = (-d psi/dy, d psi/dx) from the vorticity, (2, 1, k, l): i l and -i k over
        k^2 + l^2."""
        return torch.stack([self.dy * self.inverse, -self.dx * self.inverse])[:, None]

    @cached_property
    def dxx_dyy(self) -> Tensor:
        """d^2/dx^2 - d^2/dy^2."""
        return self.dx**2 - self.dy**2

    @cached_property
    def dxy(self) -> Tensor:
        """d^2/dx dy."""
        return self.dx * self.dy

    def along_y(self, spectrum: Tensor) -> Tensor:
        """The first half of the way to points: from (.., k, l) to (.., y, k), turned in memory once
        for all that is made of it."""
        half = torch.fft.ifft(spectrum, dim=-1, norm="forward")
        return half.transpose(-1, -2).contiguous()

    def along_x(self, half: Tensor) -> Tensor:
        """The second half: from (.., y, k) to (.., y, x)."""
        return torch.fft.irfft(half, n=self.n, dim=-1, norm="forward")

    def physical(self, spectrum: Tensor) -> Tensor:
        """From (.., k, l) to values at points (.., y, x)."""
        return self.along_x(self.along_y(spectrum))

    def back_x(self, values: Tensor) -> Tensor:
        """The first half of the way back: from (.., y, x) to (.., y, k)."""
        return torch.fft.rfft(values, dim=-1, norm="forward")

    def back_y(self, half: Tensor) -> Tensor:
        """The second half: from (.., y, k) to (.., k, l)."""
        return torch.fft.fft(half.transpose(-1, -2), dim=-1, norm="forward")

    def spectral(self, values: Tensor) -> Tensor:
        """From values at points (.., y, x) to coefficients (.., k, l)."""
        return self.back_y(self.back_x(values))

    def laplacian(self, spectrum: Tensor) -> Tensor:
        """-(k^2 + l^2) of a spectrum."""
        return -self.square * spectrum

    def resampled(self, spectrum: Other, other: Grid) -> Spectrum:
        """What this grid holds of a spectrum on another: the modes with |k|, |l| < n/2 of the
        coarser of the two, others are 0. From a finer grid it is the sharp filter by which
        Mojgani et al. 2023 (arXiv:2312.00907) make their large-eddy states."""
        m = min(self.n, other.n) // 2
        kept = torch.zeros(
            (len(spectrum), self.n // 2 + 1, self.n), dtype=spectrum.dtype, device=spectrum.device
        )
        kept[:, :m, :m] = spectrum[:, :m, :m]
        kept[:, :m, 1 - m :] = spectrum[:, :m, 1 - m :]
        return kept

    def mean_product(self, a: Spectrum, b: Spectrum) -> Float[Tensor, " row"]:
        """The mean over the square of the product of two fields, by Parseval."""
        return ((a * b.conj()).real * self.twice).sum(dim=(-2, -1))

    @cached_property
    def twice(self) -> Tensor:
        """How many modes of the whole spectrum a k of the half one stands for, (k, 1)."""
        ends = (self.k_all == 0) | (self.k_all == self.n // 2)
        return torch.where(ends, 1.0, 2.0).to(self.dtype)


def line_spectrum(grid: Grid, spectrum: Spectrum) -> Float[Tensor, "row wavenumber"]:
    """Half the square of a field by wavenumber along x, summed over l, and along y, summed over k,
    the mean of the two over one sign of the wavenumber; wavenumbers 0 to n/2 - 1.

    It is the spectrum of Mojgani et al. 2023 (arXiv:2312.00907): |FFT|^2 / 2, averaged over rows
    and over columns, the mean of both, over n^3; of a vorticity. That of the energy is the same of
    grid.inverse.sqrt() times its spectrum; their files of it lack the half.
    """
    half = grid.n // 2
    power = spectrum.real.square() + spectrum.imag.square()
    by_k = power.sum(dim=-1)[:, :half]
    both = (power * grid.twice).sum(dim=-2)
    # Negative l in the order of positive ones.
    mirrored = both.flip(-1).roll(1, -1)
    return 0.25 * (by_k + 0.5 * (both + mirrored)[:, :half])


def shell_spectrum(grid: Grid, spectrum: Spectrum) -> Float[Tensor, "row wavenumber"]:
    """Half the square of a field in the shells round((k^2 + l^2)^1/2) = 0 to n/2 - 1; their sum is
    half the mean square of what lies within."""
    half = grid.n // 2
    power = 0.5 * (spectrum.real.square() + spectrum.imag.square()) * grid.twice
    shell = grid.square.sqrt().round().long().clamp(max=half).ravel()
    found = torch.zeros((len(power), half + 1), dtype=power.dtype, device=power.device)
    return found.index_add(1, shell, power.flatten(1))[:, :half]


def random_spectrum(
    grid: Grid, rows: int, seed: int = 0, width: float = 6.0, deviation: float = 1.0
) -> Spectrum:
    """Fields of random phases whose amplitudes fall as exp(-(k^2 + l^2) / width^2), of mean 0 and
    a standard deviation; drawn on the processor, so that a seed means the same everywhere."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(rows, grid.n, grid.n, generator=generator, dtype=torch.float64)
    drawn = grid.spectral(noise.to(grid.device, grid.dtype))
    shaped = drawn * torch.exp(-grid.square / width**2) * grid.below * (grid.square > 0)
    spread = grid.mean_product(shaped, shaped).sqrt()
    return shaped * (deviation / spread)[:, None, None]
