"""Two randomized-prior ensembles that learn together, the members of one told by those of the
other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fieldcast.meshes import Sample, Samples

from .column_data import ColumnReading, guard_of
from .column_network import (
    ColumnObjective,
    ColumnPredictor,
    Parted,
    RandomizedPrior,
    moments,
    rows_of,
)
from .features import Features
from .guard import Guard
from .pod_network import told
from .signature import Signature, describe
from .stacked import RandomizedPriorNet
from .surrogate import Card, Progress, State, Surrogate
from .training import Objective, train


class JointNet(nn.Module):
    """`high` told what `low` says, member by member; with a `line` it adds slope and offset times
    that, which begin at 1 and 0."""

    def __init__(
        self,
        low: RandomizedPriorNet,
        high: RandomizedPriorNet,
        beside: bool,
        line: int,
        stop_gradient: bool,
    ) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.beside, self.stop_gradient = beside, stop_gradient
        self.slope = nn.Parameter(torch.ones(line)) if line else None
        self.offset = nn.Parameter(torch.zeros(line)) if line else None

    def forward(
        self,
        x: Float[Tensor, "#member case input"],
        cheap: Float[Tensor, "member case input"] | None = None,
    ) -> Any:
        """What `high` says, and where inputs of cheap simulations are given, what `low` says of
        them."""
        said = self.low(x)
        if self.stop_gradient:
            said = said.detach()
        own = [x.expand(len(said), -1, -1)] if self.beside else []
        found = self.high(torch.cat([*own, said], dim=-1))
        if self.slope is not None and self.offset is not None:
            found = found + self.slope * said + self.offset
        return found if cheap is None else (found, self.low(cheap))


@dataclass(frozen=True, eq=False)
class JointObjective(Objective):
    """The mean square error of `dear` rows, and `alpha` times that of `cheap` ones; a step looks at
    as many of either. Selected by the dear ones that are held."""

    dear: ColumnObjective
    cheap: ColumnObjective
    alpha: float

    @property
    def cases(self) -> int:
        return max(self.dear.cases, self.cheap.cases)

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        x, y = self.dear.drawn(rows % self.dear.cases)
        few, said = self.cheap.drawn(rows % self.cheap.cases)
        found, answered = module(x, few)
        loss = nn.functional.mse_loss(found, y)
        low = nn.functional.mse_loss(answered, said)
        return (loss + self.alpha * low) * len(self.dear.rows)

    def error(self, module: nn.Module) -> float:
        return self.dear.error(module)


def readings(dear: Samples, cheap: Samples) -> tuple[ColumnReading, ColumnReading]:
    """Of either; inputs are scaled as the cheap ones are, which reach further."""
    signature, low = Signature.of(dear), Signature.of(cheap)
    for what in ("parameters", "known"):
        one, other = getattr(signature, what), getattr(low, what)
        if dict(one) != dict(other):
            raise ValueError(
                f"expected cheap samples with the {what} {sorted(one)} of the others, in the "
                f"same units, got {sorted(other)}"
            )
    cheap_reading = ColumnReading.fit(low, cheap)
    reading = ColumnReading.fit(signature, dear)
    if reading.cells != cheap_reading.cells:
        raise ValueError("expected cheap samples on the mesh of the others, got other cells")
    shaped = reading.shaped or cheap_reading.shaped
    cheap_reading = replace(cheap_reading, shaped=shaped).rescaled(cheap)
    return replace(reading, shaped=shaped, inputs=cheap_reading.inputs), cheap_reading


@dataclass(frozen=True)
class Joint:
    """How two ensembles are fitted together."""

    low: RandomizedPrior
    high: RandomizedPrior
    composition: str
    stop_gradient: bool
    alpha: float

    def __post_init__(self) -> None:
        if self.low.size != self.high.size:
            raise ValueError(
                f"expected as many members of either, got {self.low.size} and {self.high.size}"
            )

    def fit(
        self,
        recipe: Surrogate,
        data: tuple[Samples, Samples],
        validation: Sequence[Sample] | None,
        seed: int,
        progress: Progress,
    ) -> JointPredictor:
        """From dear samples and cheap ones."""
        dear, cheap = data
        reading, low = readings(dear, cheap)
        own = Parted.read(reading, dear, validation, seed)
        x, y = rows_of(low, cheap)
        net = self.net(own.x.shape[1], y.shape[1], own.y.shape[1], seed)
        place = self.high.descent.place
        objective = JointObjective(
            ColumnObjective(own.x, own.y, self.high.rows(len(own.x), seed), own.held).to(place),
            ColumnObjective(x, y, self.low.rows(len(x), seed + 1), None).to(place),
            self.alpha,
        )
        descent = self.high.descent
        descent = replace(descent, clip=descent.clip * self.high.size**0.5)
        found = train(net, objective, descent, seed=seed, progress=progress)
        net = net.cpu().eval()
        fit = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "members": self.high.size,
            "spread_times": widening(net, own),
            "cheap_samples": len(cheap),
            "training": told(found),
        }
        return joined(recipe, net, own, low, Card(describe(dear), fit, seed=seed))

    def net(self, inputs: int, said: int, outputs: int, seed: int) -> JointNet:
        """Not trained."""
        beside = self.composition != "lf_only"
        line = outputs if self.composition == "residual" else 0
        if line and said != outputs:
            raise ValueError(
                f'expected cheap samples with the outputs of the others for "residual", got {said} '
                f"values instead of {outputs}"
            )
        told_of = said + (inputs if beside else 0)
        seeds = np.random.SeedSequence(seed).generate_state(2).tolist()
        low = self.low.networks(inputs, said, seeds[0])
        high = self.high.networks(told_of, outputs, seeds[1])
        return JointNet(low, high, beside, line, self.stop_gradient)

    def restored(
        self, recipe: Surrogate, signature: Signature, card: Card, state: State
    ) -> JointPredictor:
        """A predictor that was saved."""
        saved = signature, card, state
        return restored(recipe, saved, lambda x, said, y: self.net(x, said, y, 0))


def widening(net: nn.Module, own: Parted) -> float:
    """The number that makes the spread as large as the error on what is held; 1 where nothing
    is."""
    if own.held is None:
        return 1.0
    mean, std = moments(net, own.held[0])
    error = (mean - own.held[1]).square().mean().sqrt()
    return float(error / std.square().mean().sqrt())


def joined(
    recipe: Surrogate, net: JointNet, own: Parted, low: ColumnReading, card: Card
) -> JointPredictor:
    """The predictor of a trained net, whose spread is widened as the card says."""
    features, guard = guard_of(own.samples.cases)
    reading, times = own.reading, float(card.fit["spread_times"])
    return JointPredictor(
        recipe, reading.signature, card, reading, net, times, features, guard, low
    )


def restored(
    recipe: Surrogate,
    saved: tuple[Signature, Card, State],
    net_of: Callable[[int, int, int], JointNet],
) -> JointPredictor:
    """A predictor that was saved; `net_of` makes a net for so many inputs, cheap and dear
    outputs."""
    signature, card, state = saved
    parts = state.parts()
    reading = ColumnReading.restored(signature, parts["reading"])
    low_signature = Signature.from_json(parts["low signature"].values)
    low = ColumnReading.restored(low_signature, parts["low reading"])
    net = net_of(len(reading.inputs.shift), len(low.outputs.shift), len(reading.outputs.shift))
    weights = {k: torch.as_tensor(np.array(a)) for k, a in parts["network"].arrays.items()}
    net.load_state_dict(weights)
    times = float(parts["network"].values["widening"])
    features = Features.restored(parts["features"])
    guard = Guard.restored(parts["guard"], features)
    return JointPredictor(recipe, signature, card, reading, net.eval(), times, features, guard, low)


@dataclass(frozen=True, eq=False)
class JointPredictor(ColumnPredictor):
    """Two ensembles trained together; `low` reads what the cheap one says."""

    low: ColumnReading

    def state(self) -> State:
        parts = super().state().parts()
        parts["low reading"] = self.low.state()
        parts["low signature"] = State({}, self.low.signature.to_json())
        return State.nested({"joint": State.nested(parts)})
