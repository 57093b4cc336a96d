"""One training loop for all networks.

Warm-up and cosine decay of the rate, clipped gradients, averaged weights, selection on validation
cases, early stop, checkpoints that a killed run goes on from, and data-parallel processes under
`torchrun`. A step depends on the seed and its number alone, so a run that was interrupted ends with
the same weights, bit for bit on the CPU.
"""

from __future__ import annotations

import atexit
import copy
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn

from fieldcast.meshes.files import replace_file

from .surrogate import Progress, quiet

CHECKPOINT_SECONDS = 30.0
SMALL = 50_000
"""Parameters below which a network is trained by one thread."""


@dataclass(frozen=True)
class Descent:
    """How weights are found: `steps` of `optimiser` (Adam with decoupled weight decay, or SOAP,
    Vyas et al. 2024, arXiv:2409.11321), each on `batch` cases.

    The rate rises to `rate` over the first `warmup` of the steps and falls by a cosine to `final`
    of it. Gradients longer than `clip` are shortened. What is validated, `every` so many steps, and
    kept is the exponential average of the weights, `average` the share that a step keeps. After
    `patience` validations without a better one training stops (0: never). `half` computes the loss
    in bfloat16 where torch holds it safe. `device` None is the GPU if there is one.
    """

    steps: int = 3000
    batch: int = 64
    optimiser: Literal["adam", "soap"] = "adam"
    rate: float = 3e-3
    warmup: float = 0.05
    final: float = 1e-3
    decay: float = 0.0
    clip: float = 1.0
    average: float = 0.99
    every: int = 50
    patience: int = 0
    half: bool = False
    device: str | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.every < 1 or self.rate <= 0:
            raise ValueError(
                "expected at least one step, one case a batch, one step between validations and a "
                f"positive rate, got {self}"
            )

    @property
    def place(self) -> torch.device:
        """Where to train: `device`, else this process's GPU, else the CPU."""
        gpu = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
        return torch.device(self.device or gpu)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        rising = max(round(self.warmup * self.steps), 1)
        if step < rising:
            return self.rate * (step + 1) / rising
        share = (step - rising) / max(self.steps - rising, 1)
        return self.rate * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * share)))


class Objective(ABC):
    """What is minimised, over `cases` training cases; its tensors lie where the module is trained
    (`Descent.place`)."""

    @property
    @abstractmethod
    def cases(self) -> int:
        """The number of training cases."""

    @abstractmethod
    def loss(self, module: nn.Module, rows: Int[Tensor, " row"]) -> Tensor:
        """The mean loss of the training cases `rows`."""

    @abstractmethod
    def error(self, module: nn.Module) -> float:
        """The error on the validation cases, never on those of a test; NaN where there are
        none: the last weights are kept then."""


def counted(module: nn.Module) -> Tensor:
    """The losses so far, this one included, as the module's buffer `steps` counts them."""
    own: nn.Module = getattr(module, "module", module)
    steps = own.get_buffer("steps")
    steps += 1
    return steps


@dataclass(frozen=True, eq=False)
class Trained:
    """The best weights, and what to say of the run: the steps made, the best step, its error and
    the losses and errors at each validation."""

    module: nn.Module
    steps: int
    best_step: int
    error: float
    history: tuple[tuple[int, float, float], ...]


def train(
    module: nn.Module,
    objective: Objective,
    descent: Descent,
    *,
    seed: int = 0,
    progress: Progress = quiet,
    checkpoint: Path | None = None,
) -> Trained:
    """Train `module` (in place; the answer holds the best weights). Where `checkpoint` names a file
    of the same run, it goes on from there; it is written every half minute and when interrupted.
    Under `torchrun` every process takes its share of each batch.

    Raises:
        ValueError: a checkpoint of another run.
        FloatingPointError: a loss that is not finite; says at which step.
    """
    run = _Run(module, objective, descent, seed)
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    with _threads(run):
        _go_on(run, progress, checkpoint)
    progress(f"train: {run.told}", descent.steps, descent.steps)
    return run.answer()


@contextmanager
def _threads(run: _Run) -> Iterator[None]:
    """Threads that share a small step wait for each other longer than they work."""
    before = torch.get_num_threads()
    size = sum(p.numel() for p in run.module.parameters())
    if run.device.type == "cpu" and size < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _go_on(run: _Run, progress: Progress, checkpoint: Path | None) -> None:
    descent, saved = run.descent, time.monotonic()
    try:
        while not run.finished:
            run.advance()
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                run.save(checkpoint)
                saved = time.monotonic()
            if run.step % descent.every == 0 or run.finished:
                progress(f"train: {run.told}", run.step, descent.steps)
    except KeyboardInterrupt:
        if checkpoint is not None:
            run.save(checkpoint)
        raise
    if checkpoint is not None:
        run.save(checkpoint)


@dataclass
class _Best:
    """The best validated weights so far, and how many validations brought nothing better."""

    weights: dict[str, Tensor]
    error: float = math.inf
    step: int = 0
    stale: int = 0


@dataclass
class _Log:
    losses: list[Tensor] = field(default_factory=list)
    history: list[tuple[int, float, float]] = field(default_factory=list)


class _Run:
    """The state of a run; one step after the other."""

    def __init__(
        self, module: nn.Module, objective: Objective, descent: Descent, seed: int
    ) -> None:
        self.device = descent.place
        self.module = module.to(self.device)
        self.objective, self.descent, self.seed = objective, descent, seed
        self.averaged = copy.deepcopy(self.module)
        self.optimiser = _optimiser(self.module, descent)
        self.workers = _Workers.here()
        self.parallel = self.workers.wrapped(self.module)
        self.best = _Best(_copied(self.module.state_dict()))
        self.log = _Log()
        self.step = 0
        self.order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.long))
        if self.batch < self.workers.count:
            raise ValueError(
                f"expected at least one case a batch for each of {self.workers.count} processes, "
                f"got batches of {self.batch}"
            )

    @property
    def batch(self) -> int:
        return min(self.descent.batch, self.objective.cases)

    @property
    def finished(self) -> bool:
        patience = self.descent.patience
        return self.step >= self.descent.steps or 0 < patience <= self.best.stale

    @property
    def told(self) -> str:
        if not self.log.history:
            return "begun"
        _, loss, error = self.log.history[-1]
        return f"loss {loss:.2e}" + ("" if math.isnan(error) else f", validation {error:.2e}")

    def rows(self) -> Tensor:
        """The cases of this step: every epoch is a permutation of its own."""
        per_epoch = -(-self.objective.cases // self.batch)
        epoch, k = divmod(self.step, per_epoch)
        if self.order[0] != epoch:
            generator = torch.Generator().manual_seed((self.seed << 32) + epoch)
            self.order = (epoch, torch.randperm(self.objective.cases, generator=generator))
        return torch.tensor_split(self.order[1], per_epoch)[k]

    def advance(self) -> None:
        """One step, and a validation where one is due."""
        rows = self.rows()
        own = self.workers.share(rows).to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.descent.rate_at(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.descent.half):
            # Gradients are averaged over processes whose shares may differ by a case.
            share = len(own) * self.workers.count / len(rows)
            loss = self.objective.loss(self.parallel, own) * share
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), self.descent.clip)
        self.optimiser.step()
        self.step += 1
        self._average()
        self.log.losses.append(loss.detach())
        if self.step % self.descent.every == 0 or self.step >= self.descent.steps:
            self._validate()

    @torch.no_grad()
    def _average(self) -> None:
        # Early averages forget fast, or they would keep the first weights.
        keep = min(self.descent.average, self.step / (10.0 + self.step))
        pairs = zip(self.averaged.parameters(), self.module.parameters(), strict=True)
        for mean, new in pairs:
            if new.requires_grad:
                mean.lerp_(new, 1.0 - keep)
        buffers = zip(self.averaged.buffers(), self.module.buffers(), strict=True)
        for kept, latest in buffers:
            kept.copy_(latest)

    def _validate(self) -> None:
        loss = self.workers.mean(torch.stack(self.log.losses).mean())
        self.log.losses.clear()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"expected a finite loss, got {loss} at step {self.step}; lower the rate "
                f"({self.descent.rate}) or look for values that are not finite"
            )
        with torch.no_grad():
            error = self.workers.first(self.objective.error(self.averaged), self.device)
        self.log.history.append((self.step, loss, error))
        if math.isnan(error) or error < self.best.error:
            weights = _copied(self.averaged.state_dict())
            self.best = _Best(weights, math.inf if math.isnan(error) else error, self.step)
        else:
            self.best.stale += 1

    def answer(self) -> Trained:
        """The module with the best weights."""
        self.module.load_state_dict(self.best.weights)
        error = self.best.error if math.isfinite(self.best.error) else math.nan
        return Trained(self.module, self.step, self.best.step, error, tuple(self.log.history))

    def save(self, path: Path) -> None:
        """Write all of it as one safetensors file, by the first process; not weights that are
        spoiled."""
        losses = torch.stack(self.log.losses) if self.log.losses else torch.zeros(0)
        if self.workers.rank or not losses.isfinite().all():
            return
        from safetensors.torch import save

        tensors = {f"module/{k}": t for k, t in self.module.state_dict().items()}
        tensors |= {f"averaged/{k}": t for k, t in self.averaged.state_dict().items()}
        tensors |= {f"best/{k}": t for k, t in self.best.weights.items()}
        tensors["losses"] = losses
        state = self.optimiser.state_dict()
        numbers: dict[str, Any] = {}
        _flatten("optimiser", state["state"], tensors, numbers)
        values = {
            "run": self._identity(),
            "step": self.step,
            "best": [self.best.error, self.best.step, self.best.stale],
            "history": self.log.history,
            "numbers": numbers,
            "groups": [
                {k: v for k, v in g.items() if k != "params"} for g in state["param_groups"]
            ],
        }
        # Products round by the layout of their factors: columns in a row stay so.
        turned = [k for k, t in tensors.items() if t.dim() == 2 and not t.is_contiguous()]
        values["turned"] = turned
        tensors |= {k: tensors[k].mT for k in turned}
        plain = {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, save(plain, {"fieldcast": json.dumps(values)}))

    def restore(self, path: Path) -> None:
        """Go on where `save` was called."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})["fieldcast"])
            tensors = {name: file.get_tensor(name).to(self.device) for name in file.keys()}
        tensors |= {name: tensors[name].mT for name in values["turned"]}
        if values["run"] != self._identity():
            raise ValueError(
                f"{path}: expected a checkpoint of this run, got one of other settings, seed, "
                "cases or layers; remove it or name another file"
            )
        self.module.load_state_dict(_under("module", tensors))
        self.averaged.load_state_dict(_under("averaged", tensors))
        self.best = _Best(_under("best", tensors), *values["best"])
        self.step = values["step"]
        self.log.history = [tuple(row) for row in values["history"]]
        self.log.losses = list(tensors["losses"])
        state = self.optimiser.state_dict()
        groups = [
            {**g, **new} for g, new in zip(state["param_groups"], values["groups"], strict=True)
        ]
        nested = _nested("optimiser", tensors, values["numbers"])
        self.optimiser.load_state_dict({"state": nested, "param_groups": groups})

    def _identity(self) -> dict[str, Any]:
        """What makes two runs the same."""
        shapes = {k: list(t.shape) for k, t in self.module.state_dict().items()}
        settings = {k: v for k, v in asdict(self.descent).items() if k != "device"}
        return {"descent": settings, "seed": self.seed, "cases": self.objective.cases} | {
            "shapes": shapes
        }


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class _Workers:
    """The processes of `torchrun`, or this one alone."""

    rank: int
    count: int

    @classmethod
    def here(cls) -> _Workers:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(0, 1)
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
            # Threads that outlive the interpreter abort the process now and then.
            atexit.register(_leave)
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module whose gradients are averaged over the processes."""
        return module if self.count == 1 else nn.parallel.DistributedDataParallel(module)

    def share(self, rows: Tensor) -> Tensor:
        """The rows of this process."""
        return rows[self.rank :: self.count]

    def mean(self, value: Tensor) -> float:
        """The mean over all processes."""
        value = value.detach().clone()
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return float(value) / self.count

    def first(self, value: float, device: torch.device) -> float:
        """The first process's value: all stop at the same step."""
        if self.count == 1:
            return value
        box = torch.tensor(value, dtype=torch.float64, device=device)
        torch.distributed.broadcast(box, 0)
        return float(box)


def _optimiser(module: nn.Module, descent: Descent) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    if descent.optimiser == "soap":
        from pytorch_optimizer import SOAP

        return SOAP(parameters, lr=descent.rate, weight_decay=descent.decay)
    # One pass over all weights, where they are real.
    fused = not any(p.is_complex() for p in parameters)
    return torch.optim.AdamW(
        parameters, lr=descent.rate, weight_decay=descent.decay, fused=fused or None
    )


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {k.removeprefix(start): t.clone() for k, t in tensors.items() if k.startswith(start)}


def _flatten(name: str, value: Any, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Nested dictionaries and lists as paths; `i:` and `l:` mark numbered keys and lists."""
    if isinstance(value, Tensor):
        tensors[name] = value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            _flatten(f"{name}/{'i:' if isinstance(key, int) else ''}{key}", part, tensors, numbers)
    elif isinstance(value, (list, tuple)) and len(value):
        for k, part in enumerate(value):
            _flatten(f"{name}/l:{k}", part, tensors, numbers)
    else:
        numbers[name] = value


def _nested(name: str, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> Any:
    """What `_flatten` was given."""
    root: dict[Any, Any] = {}
    leaves = {**_under(name, tensors)}
    leaves |= {k.removeprefix(f"{name}/"): v for k, v in numbers.items()}
    for path, leaf in leaves.items():
        here = root
        *inner, last = path.split("/")
        for key in inner:
            here = here.setdefault(key, {})
        here[last] = leaf
    return _typed(root)


def _typed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(k.startswith("l:") for k in value):
        return [_typed(value[k]) for k in sorted(value, key=lambda k: int(k[2:]))]
    return {int(k[2:]) if k.startswith("i:") else k: _typed(v) for k, v in value.items()}
