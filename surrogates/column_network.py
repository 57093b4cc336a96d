"""Networks from all inputs of a case to all its outputs, for cases on equal meshes: atmospheric
columns, grids, rings. Alone, or as an ensemble with randomized priors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fieldcast.meshes import Case, Cases, Predictions, Sample, Samples

from .case_data import held_rows
from .column_data import ColumnReading, guard_of, place_of
from .deep_ensemble import DeepEnsemble
from .features import Features
from .guard import Guard
from .placing import placed, returned
from .pod_network import told
from .priored import Priored
from .signature import Signature, describe
from .stacked import RandomizedPriorNet
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .training import Descent, Objective, train

AT_ONCE, CACHED = 2**18, 2**13
"""Cases times members that go through a network at a time, on a GPU and where caches are small."""
TRIED = (2, 12)
"""Steps of the trials that tell how long a step takes."""


@dataclass(frozen=True)
class ColumnNetwork(Surrogate):
    """One multilayer perceptron of `depth` hidden layers of `width` units from all parameters and
    values of known fields to all values of the fields and scalars, each with mean 0 and variance 1
    in the training set. Meshes of one size."""

    one_numbering: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5

    width: int = 128
    depth: int = 3
    descent: Descent = field(
        default_factory=lambda: Descent(steps=3000, batch=128, rate=1e-3, every=100)
    )

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> ColumnPredictor:
        data = Parted.of(samples, validation, seed)
        rows = torch.arange(len(data.x))[None]
        net = self.networks(data.x.shape[1], data.y.shape[1], 1, 0.0, seed)
        objective = ColumnObjective(data.x, data.y, rows, data.held)
        return trained(self, data, net, objective, seed, progress)

    def networks(
        self, inputs: int, outputs: int, count: int, beta: float, seed: int
    ) -> RandomizedPriorNet:
        """So many networks of this kind, not trained."""
        sizes = [inputs, *[self.width] * self.depth, outputs]
        return RandomizedPriorNet(count, sizes, beta, torch.Generator().manual_seed(seed))

    def restore(self, signature: Signature, card: Card, state: State) -> ColumnPredictor:
        return restored(self, self, 1, 0.0, (signature, card, state))

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        return estimated(self, Samples.pack(samples), 1)

    @classmethod
    def tiny(cls) -> ColumnNetwork:
        return cls(24, 2, Descent(steps=120, batch=16, rate=1e-2, every=40))


@dataclass(frozen=True)
class RandomizedPrior(Surrogate):
    """`size` surrogates like `member`, each plus `beta` times a network that is never trained, and
    from a seed and a `share` of the samples of its own, drawn without replacement (Osband,
    Aslanides, Cassirer 2018, arXiv:1806.03335; for columns Bhouri et al. 2023, arXiv:2309.10231).
    Column networks are one batched network, and their priors networks of the same sizes; other
    members are fitted one after the other, with a `Priored` around each.

    The mean answers; the standard deviation is the spread between the members, of column networks
    times the number that makes it as large as the error on the cases held out to select by.
    """

    one_numbering: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5

    member: Surrogate = field(default_factory=ColumnNetwork)
    size: int = 16
    beta: float = 1.0
    share: float = 0.8

    def __post_init__(self) -> None:
        if self.size < 2 or not 0 < self.share <= 1 or self.beta < 0:
            raise ValueError(
                "expected at least 2 members, a share in (0, 1] and a beta that is not negative, "
                f"got {self.size}, {self.share} and {self.beta}"
            )
        object.__setattr__(self, "grids", self.member.grids)

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> Predictor:
        if not self.batched:
            found = self._apart.fit(samples, validation=validation, seed=seed, progress=progress)
            return replace(found, recipe=self)
        data = Parted.of(samples, validation, seed)
        net = self.networks(data.x.shape[1], data.y.shape[1], seed)
        objective = ColumnObjective(data.x, data.y, self.rows(len(data.x), seed), data.held)
        return trained(self, data, net, objective, seed, progress)

    @property
    def batched(self) -> bool:
        """Whether the members are one network."""
        return isinstance(self.member, ColumnNetwork)

    @property
    def network(self) -> ColumnNetwork:
        """The member, which must be a network of columns."""
        if not isinstance(self.member, ColumnNetwork):
            raise TypeError(f"expected a ColumnNetwork, got {type(self.member).__name__}")
        return self.member

    @property
    def _apart(self) -> DeepEnsemble:
        return DeepEnsemble(Priored(self.member, self.beta), self.size, self.share)

    def networks(self, inputs: int, outputs: int, seed: int) -> RandomizedPriorNet:
        """Not trained."""
        return self.network.networks(inputs, outputs, self.size, self.beta, seed)

    def rows(self, count: int, seed: int) -> Tensor:
        """Which of so many samples each member learns from, in its own order, (member, row)."""
        generator = torch.Generator().manual_seed(seed)
        every = [torch.randperm(count, generator=generator) for _ in range(self.size)]
        return torch.stack(every)[:, : max(round(self.share * count), 1)]

    @property
    def descent(self) -> Descent:
        """How the members are trained."""
        return self.network.descent

    def restore(self, signature: Signature, card: Card, state: State) -> Predictor:
        if not self.batched:
            return replace(self._apart.restore(signature, card, state), recipe=self)
        return restored(self, self.network, self.size, self.beta, (signature, card, state))

    def estimate(self, samples: Sequence[Sample]) -> tuple[float, int] | None:
        if not self.batched:
            return self._apart.estimate(samples)
        return estimated(self.network, Samples.pack(samples), self.size)

    @classmethod
    def tiny(cls) -> RandomizedPrior:
        return cls(ColumnNetwork.tiny(), 3)


@dataclass(frozen=True, eq=False)
class Parted:
    """Samples as rows: `x` and `y` to learn from, `held` to select by."""

    samples: Samples
    reading: ColumnReading
    x: Tensor
    y: Tensor
    held: tuple[Tensor, Tensor] | None

    @classmethod
    def of(
        cls, samples: Sequence[Sample], validation: Sequence[Sample] | None, seed: int
    ) -> Parted:
        """From those of a fit; where no validation cases are given, some are held out."""
        every = Samples.pack(samples)
        reading = ColumnReading.fit(Signature.of(every), every)
        return cls.read(reading, every, validation, seed)

    @classmethod
    def read(
        cls,
        reading: ColumnReading,
        every: Samples,
        validation: Sequence[Sample] | None,
        seed: int,
    ) -> Parted:
        """By a reading that is known."""
        x, y = rows_of(reading, every)
        if validation is not None:
            checked = [replace(s, case=reading.signature.checked(s.case)) for s in validation]
            kept = rows_of(reading, Samples.pack(checked)) if checked else None
            return cls(every, reading, x, y, kept)
        own, held = held_rows(len(every), seed)
        kept_rows = (x[held], y[held]) if held else None
        return cls(every, reading, x[own], y[own], kept_rows)


def rows_of(reading: ColumnReading, samples: Samples) -> tuple[Tensor, Tensor]:
    """Standardised inputs and outputs, (case, column)."""
    x = reading.inputs(reading.raw_inputs(samples.cases))
    y = reading.outputs(reading.raw_outputs(samples))
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y, dtype=torch.float32)


@dataclass(frozen=True, eq=False)
class ColumnObjective(Objective):
    """The mean square error of standardised outputs, each member's on its own `rows` (member, row)
    of `x` and `y`; selected by the error of the members' mean on what is `held`."""

    x: Tensor
    y: Tensor
    rows: Tensor
    held: tuple[Tensor, Tensor] | None

    @property
    def cases(self) -> int:
        return self.rows.shape[1]

    def loss(self, module: nn.Module, rows: Tensor) -> Tensor:
        x, y = self.drawn(rows)
        # As many times as there are members: each then steps as if it were alone.
        return nn.functional.mse_loss(module(x), y) * len(self.rows)

    def drawn(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and outputs of a batch, (member, case, column)."""
        own = self.rows[:, rows]
        flat = own.flatten()
        x, y = (part.index_select(0, flat) for part in (self.x, self.y))
        return x.view(*own.shape, -1), y.view(*own.shape, -1)

    def error(self, module: nn.Module) -> float:
        if self.held is None:
            return float("nan")
        x, y = self.held
        return float((moments(module, x)[0] - y).square().mean().sqrt())

    def to(self, device: torch.device) -> ColumnObjective:
        """The same elsewhere."""
        held = None if self.held is None else (self.held[0].to(device), self.held[1].to(device))
        return ColumnObjective(self.x.to(device), self.y.to(device), self.rows.to(device), held)


def moments(net: nn.Module, x: Float[Tensor, "case input"]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (0 of one alone) over the members, block by block."""
    means, stds = [], []
    with torch.no_grad():
        count = len(net(x[None, :1]))
        at_once = CACHED if x.device.type == "cpu" else AT_ONCE
        for part in x.split(max(at_once // count, 1)):
            every = net(part[None])
            mean = every.mean(0)
            # In place: torch's own over the first of three dimensions takes as long as the network.
            square = every.sub_(mean).square_().sum(0)
            means.append(mean)
            stds.append(square.div_(max(count - 1, 1)).sqrt_())
    return torch.cat(means), torch.cat(stds)


def trained(
    recipe: ColumnNetwork | RandomizedPrior,
    data: Parted,
    net: RandomizedPriorNet,
    objective: ColumnObjective,
    seed: int,
    progress: Progress,
) -> ColumnPredictor:
    """Train `net` and say how it went."""
    place, count = recipe.descent.place, len(objective.rows)
    # The gradient of all members together is longer than one member's.
    descent = replace(recipe.descent, clip=recipe.descent.clip * count**0.5)
    found = train(net, objective.to(place), descent, seed=seed, progress=progress)
    net = net.cpu().eval()
    widening = 1.0
    if count > 1 and data.held is not None:
        mean, std = moments(net, data.held[0])
        widening = float((mean - data.held[1]).square().mean().sqrt() / std.square().mean().sqrt())
    fit: dict[str, Any] = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "members": count,
        "spread_times": widening,
        "training": told(found),
    }
    features, guard = guard_of(data.samples.cases)
    card = Card(describe(data.samples), fit, seed=seed)
    signature = data.reading.signature
    return ColumnPredictor(recipe, signature, card, data.reading, net, widening, features, guard)


@dataclass(frozen=True, eq=False)
class ColumnPredictor(Predictor):
    """Trained networks side by side; their spread counts `widening` times."""

    reading: ColumnReading
    net: nn.Module
    widening: float
    features: Features
    guard: Guard

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        net, x = self._placed(cases, device)
        mean, std = (returned(part) for part in moments(net, x))
        alone = isinstance(self.recipe, ColumnNetwork)
        found = self.reading.answer(cases, mean, None if alone else self.widening * std)
        trust = self.guard.judge(place_of(self.features, cases))
        return replace(found, trust=trust)

    def member_answers(
        self, cases: Sequence[Case], device: str | None = None
    ) -> Sequence[Predictions]:
        packed = self.signature.checked_cases(Cases.pack(cases))
        net, x = self._placed(packed, device)
        with torch.no_grad():
            blocks = [net(part[None]).cpu() for part in x.split(CACHED)]
        every = torch.cat(blocks, dim=1).numpy().astype(float)
        mean = every.mean(axis=0)
        return [self.reading.answer(packed, mean + self.widening * (m - mean), None) for m in every]

    def _placed(self, cases: Cases, device: str | None) -> tuple[nn.Module, Tensor]:
        where = torch.device(device or "cpu")
        rows = self.reading.inputs(self.reading.raw_inputs(cases))
        return self.net.to(where), placed(torch.as_tensor(rows, dtype=torch.float32), where)

    def state(self) -> State:
        return State.nested(
            {
                "reading": self.reading.state(),
                "network": State(
                    {k: t.detach().cpu().numpy() for k, t in self.net.state_dict().items()},
                    {"widening": self.widening},
                ),
                "features": self.features.state(),
                "guard": self.guard.state(),
            }
        )


def restored(
    recipe: Surrogate,
    member: ColumnNetwork,
    count: int,
    beta: float,
    saved: tuple[Signature, Card, State],
) -> ColumnPredictor:
    """A predictor that was saved."""
    signature, card, state = saved
    parts = state.parts()
    reading = ColumnReading.restored(signature, parts["reading"])
    ends = len(reading.inputs.shift), len(reading.outputs.shift)
    net = member.networks(*ends, count, beta, 0)
    weights = {k: torch.as_tensor(np.array(a)) for k, a in parts["network"].arrays.items()}
    net.load_state_dict(weights)
    features = Features.restored(parts["features"])
    guard = Guard.restored(parts["guard"], features)
    widening = float(parts["network"].values["widening"])
    return ColumnPredictor(recipe, signature, card, reading, net.eval(), widening, features, guard)


def estimated(member: ColumnNetwork, samples: Samples, count: int) -> tuple[float, int]:
    """Seconds and bytes of training so many; a few steps are tried."""
    data = Parted.of(samples, None, 0)
    net = member.networks(data.x.shape[1], data.y.shape[1], count, 1.0 if count > 1 else 0.0, 0)
    objective = ColumnObjective(data.x, data.y, torch.arange(len(data.x)).expand(count, -1), None)
    times = []
    for steps in TRIED:
        few = replace(member.descent, steps=steps, every=steps, device="cpu")
        started = time.perf_counter()
        train(net, objective, few)
        times.append(time.perf_counter() - started)
    each = max(times[1] - times[0], 0.0) / (TRIED[1] - TRIED[0])
    weights = sum(p.numel() for p in net.parameters())
    return each * member.descent.steps, 4 * (data.x.numel() + data.y.numel()) + 20 * weights
