"""Names become objects in one place: lazily, first come first served, refusals list what there
is."""

import logging
from importlib.metadata import EntryPoint

import pytest

from fieldcast.meshes import plugins
from fieldcast.meshes.disk import Harmonic
from fieldcast.meshes.plugins import plugin, plugin_name, plugin_names

GROUP = "fieldcast.morphings"


def test_names_lead_to_classes_and_back():
    assert plugin("morphings", "harmonic") is Harmonic
    assert plugin_name("morphings", Harmonic) == "harmonic"
    for name in plugin_names("morphings"):
        assert plugin_name("morphings", plugin("morphings", name)) == name


def test_a_refusal_lists_what_is_installed():
    with pytest.raises(ValueError, match=r"installed morphings \[.*'harmonic'.*\], got 'harmonik'"):
        plugin("morphings", "harmonik")


def test_a_class_that_is_not_installed_is_told_how():
    with pytest.raises(ValueError, match=r'fieldcast\.surrogates"\] NAME = ".*:Harmonic"'):
        plugin_name("surrogates", Harmonic)


@pytest.fixture
def _two_packages(monkeypatch):
    points = [
        EntryPoint("twice", "b_package:Second", GROUP),
        EntryPoint("twice", "a_package:First", GROUP),
        EntryPoint("broken", "package_that_is_not_there:Thing", GROUP),
        EntryPoint("alias", "fieldcast.meshes:disk.Harmonic", GROUP),
    ]
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [p for p in points if p.group == group]
    )
    plugins._installed.cache_clear()
    yield
    plugins._installed.cache_clear()


@pytest.mark.usefixtures("_two_packages")
def test_two_packages_of_one_name_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        names = plugin_names("morphings")
    assert names == ["alias", "broken", "twice"]
    assert "'twice': a_package:First is used, b_package:Second is not" in caplog.text


@pytest.mark.usefixtures("_two_packages")
def test_nothing_is_imported_until_asked():
    assert "broken" in plugin_names("morphings")
    with pytest.raises(ModuleNotFoundError, match="package_that_is_not_there"):
        plugin("morphings", "broken")
