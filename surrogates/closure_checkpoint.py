"""Trainings of policies that are interrupted and go on: one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fieldcast.meshes.files import replace_file

from .closure_environment import Environment, State


class Reached(NamedTuple):
    """How far a training is: the steps made, the states of the flow, rewards so far."""

    step: int
    state: State
    history: list[float]


def save(
    path: Path, reached: Reached, policy: nn.Module, adam: torch.optim.Optimizer, run: Any
) -> None:
    """Write all that training goes on from; `run` is the recipe with its seed, by its text."""
    from safetensors.torch import save as packed

    tensors = {f"policy/{k}": v for k, v in policy.state_dict().items()}
    for n, own in adam.state_dict()["state"].items():
        tensors |= {f"adam/{n}/{k}": v for k, v in own.items()}
    tensors |= {f"flow/{k}": v for k, v in _parts(reached.state).items()}
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    about = {"run": repr(run), "step": reached.step, "history": reached.history}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, packed(plain, {"fieldcast": json.dumps(about)}))


def _parts(state: State) -> dict[str, Tensor]:
    return {"vorticity": state.vorticity, "before": state.before}


def restore(
    path: Path, environment: Environment, policy: nn.Module, adam: torch.optim.Optimizer, run: Any
) -> Reached:
    """Go on where `save` was called.

    Raises:
        ValueError: a checkpoint of another run.
    """
    from safetensors import safe_open

    device = next(policy.parameters()).device
    with safe_open(path, framework="pt") as file:
        about = json.loads((file.metadata() or {})["fieldcast"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if about["run"] != repr(run):
        raise ValueError(
            f"{path}: expected a checkpoint of this run, got one of other settings or another "
            "seed; remove it or name another file"
        )

    def under(start: str) -> dict[str, Tensor]:
        return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}

    policy.load_state_dict(under("policy/"))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in under("adam/").items():
        n, key = name.split("/")
        state.setdefault(int(n), {})[key] = value
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})
    flow = environment.state(**{k: v.to(device) for k, v in under("flow/").items()})
    return Reached(int(about["step"]), flow, list(about["history"]))
