"""A regression that takes no time; as a program it trains and writes its weights:
`least_squares.py OUT [CHECKPOINT]`."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from fieldcast.surrogates import training
from fieldcast.surrogates.networks import Dense
from fieldcast.surrogates.training import Descent, Objective, train

CASES = 77


class LeastSquares(Objective):
    """Two smooth functions of three inputs."""

    cases = CASES

    def __init__(self, interrupted_at=None, errors=None, seen=None, spoiled=False, pause=0.0):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(CASES + 40, 3, generator=generator, dtype=torch.float64)
        a, b, c = self.x.T
        self.y = torch.stack([torch.sin(a) + b * c, a - b**2], dim=1)
        self.interrupted_at, self.errors, self.seen = interrupted_at, errors, seen
        self.spoiled, self.pause, self.count = spoiled, pause, 0

    def loss(self, module, rows):
        self.count += 1
        if self.count == self.interrupted_at:
            raise KeyboardInterrupt
        if self.seen is not None:
            self.seen.append(rows.cpu().numpy())
        time.sleep(self.pause)
        x, y = (t.to(rows.device)[rows] for t in (self.x, self.y))
        loss = ((module(x) - y) ** 2).mean()
        return loss * float("nan") if self.spoiled else loss

    def error(self, module):
        if self.errors is not None:
            return next(self.errors)
        device = next(module.parameters()).device
        x, y = (t[CASES:].to(device) for t in (self.x, self.y))
        return float(((module(x) - y) ** 2).mean().sqrt().detach())


def weights_of(module):
    return torch.cat([p.detach().ravel() for p in module.parameters()]).cpu().numpy()


if __name__ == "__main__":
    training.CHECKPOINT_SECONDS = 0.1
    out, *path = map(Path, sys.argv[1:])
    network = Dense([3, 8, 2], torch.Generator().manual_seed(0))
    objective = LeastSquares(pause=float(os.environ.get("PAUSE", "0")))
    descent = Descent(steps=60, batch=16, every=10, rate=1e-2)
    trained = train(network, objective, descent, checkpoint=path[0] if path else None)
    if int(os.environ.get("RANK", "0")) == 0:
        np.save(out, weights_of(trained.module))
