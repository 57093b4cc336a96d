"""For BoTorch."""

from __future__ import annotations

from typing import Any

import torch
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal

from ..optimize import Objective

CERTAIN = 1e-18
"""The variance of what has none."""


class Surrogate(Model):
    """See `as_botorch`."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    @property
    def num_outputs(self) -> int:
        """The goal and the constraints."""
        _, equal, above = self.objective.sizes
        return 1 + len(equal) + len(above)

    def posterior(
        self,
        X: torch.Tensor,
        output_indices: list[int] | None = None,
        observation_noise: Any = False,
        posterior_transform: Any = None,
    ) -> Any:
        """Of points (..., q, number) of the unit cube."""
        mean, variance = self.objective.posterior(X.reshape(-1, X.shape[-1]), CERTAIN)
        if output_indices is not None:
            mean, variance = mean[:, output_indices], variance[:, output_indices]
        shape = (*X.shape[:-1], mean.shape[1])
        mean, variance = mean.reshape(shape), variance.reshape(shape)
        if shape[-1] == 1:
            made = MultivariateNormal(mean[..., 0], torch.diag_embed(variance[..., 0]))
        else:
            # Outputs of a point lie side by side.
            made = MultitaskMultivariateNormal(mean, torch.diag_embed(variance.flatten(-2)))
        found = GPyTorchPosterior(made)
        return found if posterior_transform is None else posterior_transform(found)
