"""Every test that asks for `surrogate`, `solver` or `morphing` runs on all that are installed."""

from __future__ import annotations

import pytest

from fieldcast.meshes.plugins import Kind, plugin, plugin_names

for module in ("numbers", "refusals", "surrogate_checks", "solver_checks", "morphing_checks"):
    pytest.register_assert_rewrite(f"{__package__}.{module}")

KINDS: dict[str, Kind] = {
    "surrogate": "surrogates",
    "solver": "solvers",
    "morphing": "morphings",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per plugin; for surrogates with a `group`, one per family they can be fitted to.
    With pytest-xdist and `--dist loadgroup` a plugin's tests share a process and what is fitted."""
    together = metafunc.config.pluginmanager.has_plugin("xdist")

    def one(plugin: str, *values: object, id: str) -> object:
        marks = [pytest.mark.xdist_group(plugin)] if together else []
        return pytest.param(*values, id=id, marks=marks)

    wanted = set(metafunc.fixturenames)
    for argument, kind in KINDS.items():
        if argument not in wanted:
            continue
        classes = {name: plugin(kind, name) for name in plugin_names(kind)}
        if "group" in wanted:
            from .surrogate_checks import families_of

            pairs = [(n, c, g) for n, c in classes.items() for g in families_of(c)]
            every = [one(n, c, g, id=f"{n}-{g}") for n, c, g in pairs]
            metafunc.parametrize(f"{argument}, group", every)
        else:
            metafunc.parametrize(argument, [one(n, c, id=n) for n, c in classes.items()])
