"""The one place where a name becomes an object: plugins, found by their entry points and imported
when asked."""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, Literal

log = logging.getLogger(__name__)
Kind = Literal[
    "surrogates", "solvers", "morphings", "problems", "closures", "environments", "histories"
]


@lru_cache(maxsize=8)
def _installed(kind: Kind) -> dict[str, Any]:
    # Entry points; of a class of its own where something has imported importlib_metadata.
    found: dict[str, Any] = {}
    for point in sorted(entry_points(group=f"fieldcast.{kind}"), key=lambda p: (p.name, p.value)):
        if point.name in found and found[point.name].value != point.value:
            log.warning(
                "two packages offer %s %r: %s is used, %s is not",
                kind,
                point.name,
                found[point.name].value,
                point.value,
            )
        found.setdefault(point.name, point)
    return found


def plugin_names(kind: Kind) -> list[str]:
    """Names of the installed plugins of one kind; nothing is imported."""
    return list(_installed(kind))


def plugin(kind: Kind, name: str) -> Any:
    """The class that is installed under `name`.

    Raises:
        ValueError: none is; the message lists what is.
    """
    found = _installed(kind)
    if name not in found:
        raise ValueError(f"expected one of the installed {kind} {list(found)}, got {name!r}")
    return found[name].load()


def plugin_name(kind: Kind, cls: type) -> str:
    """The name under which `cls` is installed.

    Raises:
        ValueError: it is not; the message says how to install it.
    """
    target = f"{cls.__module__}:{cls.__qualname__}"
    for name, point in _installed(kind).items():
        if point.value == target:
            return name
    for name, point in _installed(kind).items():
        if point.attr == cls.__qualname__ and point.load() is cls:
            return name
    raise ValueError(
        f"expected an installed plugin, got {target}: "
        f'add [project.entry-points."fieldcast.{kind}"] NAME = "{target}" to its package'
    )
