"""A function that is drawn once and never trained beside what any surrogate learns: away from the
simulations, members of an ensemble then disagree by as much as their priors do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch

from fieldcast.meshes import Cases, Predictions, Sample, Samples

from .column_data import ColumnReading
from .pod_network import PodNetwork
from .signature import Signature
from .stacked import StackedMlp
from .surrogate import Card, Predictor, Progress, State, Surrogate, quiet
from .wrapper import Wrapped, Wrapper

LAYERS = (64, 64)
"""Units of the prior's hidden layers."""


@dataclass(frozen=True)
class Priored(Wrapper):
    """`inner` learns y - beta p(x), and y = beta p + what it says is answered: p a random network
    from all inputs to all outputs, each with mean 0 and variance 1 in the training set (Osband,
    Aslanides, Cassirer 2018, arXiv:1806.03335). Meshes of one size. `RandomizedPrior` makes an
    ensemble of these."""

    one_numbering: ClassVar[bool] = True
    transient: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-5

    inner: Surrogate = field(default_factory=PodNetwork)
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, own in (("any_mesh", False), ("one_numbering", True), ("transient", False)):
            object.__setattr__(self, name, own)

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        validation: Sequence[Sample] | None = None,
        seed: int = 0,
        progress: Progress = quiet,
    ) -> PrioredPredictor:
        every = Samples.pack(samples)
        prior = Prior.drawn(every, self.beta, seed)
        held = None
        if validation is not None:
            held = prior.left(Samples.pack(validation)) if len(validation) else []
        whole = self.inner.fit(prior.left(every), validation=held, seed=seed, progress=progress)
        return PrioredPredictor(self, whole.signature, whole.card, whole, prior)

    def restore(self, signature: Signature, card: Card, state: State) -> PrioredPredictor:
        parts = state.parts()
        whole = self.inner.restore(signature, card, parts["whole"])
        prior = Prior.restored(signature, self.beta, parts["prior"])
        return PrioredPredictor(self, signature, card, whole, prior)

    @classmethod
    def tiny(cls) -> Priored:
        return cls(PodNetwork.tiny())


@dataclass(frozen=True, eq=False)
class Prior:
    """beta times a random network, in the units of the outputs."""

    reading: ColumnReading
    net: StackedMlp
    beta: float

    @classmethod
    def drawn(cls, samples: Samples, beta: float, seed: int) -> Prior:
        """With scales from a training set."""
        reading = ColumnReading.fit(Signature.of(samples), samples)
        # Other numbers than those that the inner one draws from the same seed.
        generator = torch.Generator().manual_seed((seed << 1) + 1)
        return cls(reading, network(reading, generator), beta)

    def __call__(self, cases: Cases) -> Predictions:
        """Fields and scalars, their means 0."""
        rows = self.reading.inputs(self.reading.raw_inputs(cases))
        with torch.no_grad():
            x = torch.as_tensor(rows, dtype=torch.float32)
            found = torch.cat([self.net(part[None])[0] for part in x.split(2**14)])
        values = self.beta * found.numpy().astype(float)
        centred = replace(self.reading.outputs, shift=np.zeros_like(self.reading.outputs.shift))
        return replace(self.reading, outputs=centred).answer(cases, values, None)

    def left(self, samples: Samples) -> Samples:
        """What the prior leaves of outputs."""
        p = self(samples.cases)
        fields = {
            k: replace(f, values=f.values - p.mean[k].values) for k, f in samples.fields.items()
        }
        scalars = {
            k: replace(s, values=s.values - p.scalars[k].mean) for k, s in samples.scalars.items()
        }
        return Samples(samples.cases, fields, scalars)

    def state(self) -> State:
        """For `restored`."""
        arrays = {k: t.numpy() for k, t in self.net.state_dict().items()}
        return State.nested({"reading": self.reading.state(), "network": State(arrays, {})})

    @classmethod
    def restored(cls, signature: Signature, beta: float, state: State) -> Prior:
        """From `state`."""
        parts = state.parts()
        reading = ColumnReading.restored(signature, parts["reading"])
        net = network(reading, torch.Generator())
        arrays = parts["network"].arrays
        net.load_state_dict({k: torch.as_tensor(np.array(a)) for k, a in arrays.items()})
        return cls(reading, net, beta)


def network(reading: ColumnReading, generator: torch.Generator) -> StackedMlp:
    """From all inputs to all outputs, at random."""
    sizes = [len(reading.inputs.shift), *LAYERS, len(reading.outputs.shift)]
    found = StackedMlp(1, sizes, generator)
    return found.requires_grad_(False)


@dataclass(frozen=True, eq=False)
class PrioredPredictor(Wrapped):
    """`whole` answers what `prior` leaves."""

    prior: Prior

    def answer(self, cases: Cases, device: str | None) -> Predictions:
        p = self.prior(cases)
        found = self.whole.answer(cases, device)
        mean = {k: replace(f, values=f.values + p.mean[k].values) for k, f in found.mean.items()}
        scalars = {k: replace(e, mean=e.mean + p.scalars[k].mean) for k, e in found.scalars.items()}
        return replace(found, mean=mean, scalars=scalars)

    def baselines(self) -> dict[str, Predictor]:
        """Of what was learnt as it is; none is kept."""
        return {}

    def state(self) -> State:
        return State.nested({"whole": self.whole.state(), "prior": self.prior.state()})
