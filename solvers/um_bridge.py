"""Any model that speaks UM-Bridge over HTTP (Seelinger et al., doi:10.21105/joss.04748), asked as a
solver is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np

from fieldcast.meshes import Case, Mesh, Sample, Scalar

from .solver import Solver, SolverFailed

_VERSION = 1.0


@dataclass(frozen=True)
class UmBridge(Solver):
    """The model called `model` of the server at `url`. Its input vectors, one after the other, are
    the parameters called `inputs`; its output vectors, one after the other, become the scalars
    called `results`. `configuration` are pairs that it is told with each request. The mesh of a
    case is no matter to it."""

    url: str = "http://localhost:4242"
    model: str = "forward"
    inputs: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    configuration: tuple[tuple[str, Any], ...] = ()
    seconds: float = 600.0

    parameters: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {}

    def available(self) -> str | None:
        try:
            models = self._asked("Info", None)["models"]
        except SolverFailed as error:
            return f"start a server of UM-Bridge at {self.url}: {error}"
        if self.model not in models:
            return f"{self.url}: expected a model {self.model!r}, got {models}"
        return None

    def example(self) -> Case:
        """A point; all inputs are 1."""
        return Case(Mesh(np.zeros((1, 2)), {}), dict.fromkeys(self.inputs, 1.0))

    def solve(self, case: Case) -> Sample:
        missing = [name for name in self.inputs if name not in case.parameters]
        if missing:
            raise ValueError(
                f"case {case.label}: expected parameters {self.inputs}, {missing} are missing"
            )
        values = [float(case.parameters[name]) for name in self.inputs]
        if not np.isfinite(values).all():
            raise ValueError(f"case {case.label}: expected finite parameters, got {values}")
        told = {"name": self.model, "config": dict(self.configuration)}
        sizes = self._asked("InputSizes", told)["inputSizes"]
        if sum(sizes) != len(values):
            raise ValueError(
                f"case {case.label}: expected {sum(sizes)} inputs of {self.model!r} (vectors of "
                f"{sizes}), got {len(values)} names"
            )
        ends = np.cumsum(sizes)
        vectors = [values[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        answer = self._asked("Evaluate", {**told, "input": vectors})
        return Sample(case, {}, self._scalars(case, answer))

    def _scalars(self, case: Case, answer: Mapping[str, Any]) -> dict[str, Scalar]:
        try:
            found = [float(x) for vector in answer["output"] for x in vector]
        except (KeyError, TypeError, ValueError):
            raise SolverFailed(
                f"case {case.label}: expected vectors of numbers, got {answer}", "read"
            ) from None
        if len(found) != len(self.results) or not np.isfinite(found).all():
            raise SolverFailed(
                f"case {case.label}: expected {len(self.results)} finite results "
                f"{self.results}, got {found}",
                "read",
            )
        return {k: Scalar(np.array([v])) for k, v in zip(self.results, found, strict=True)}

    def _asked(self, what: str, content: Mapping[str, Any] | None) -> dict[str, Any]:
        """An answer of the server.

        Raises:
            SolverFailed: none, or an error.
        """
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"expected a URL of HTTP, got {self.url!r}")
        data = None if content is None else json.dumps(content).encode()
        request = Request(f"{self.url.rstrip('/')}/{what}", data)
        request.add_header("Content-Type", "application/json")
        try:
            with urlopen(request, timeout=self.seconds) as found:
                answer: dict[str, Any] = json.load(found)
        except TimeoutError as error:
            raise SolverFailed(f"no answer to {what} within {self.seconds:.0f} s") from error
        except (URLError, ConnectionError, json.JSONDecodeError) as error:
            raise SolverFailed(
                f"{what}: {error}", "set-up" if content is None else "run"
            ) from error
        if "error" in answer:
            raise SolverFailed(f"{what}: {answer['error']}")
        if what == "Info" and float(answer.get("protocolVersion", 0)) != _VERSION:
            raise SolverFailed(f"expected protocol {_VERSION}, got {answer}", "set-up")
        return answer
