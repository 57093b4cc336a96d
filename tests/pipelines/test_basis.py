"""What an operator network makes its fields of: orthogonal functions of each case, drawn."""

import numpy as np
import pytest

from fieldcast.conformance.families import family
from fieldcast.pipelines.basis import write_basis
from fieldcast.surrogates import FNO, DeepONet, Descent, FusionDeepONet, Image

FEW = Descent(steps=3, every=3)


@pytest.mark.parametrize(
    ("recipe", "layers"), [(FusionDeepONet(8, 3, 8), 3), (DeepONet(8, 2, 8), 1)]
)
def test_the_functions_are_orthogonal_and_drawn(recipe, layers, tmp_path):
    samples, cases = family("any_topology").samples, list(family("any_topology").queries)
    model = type(recipe)(recipe.width, recipe.depth, recipe.latent, descent=FEW).fit(samples)
    found = model.basis(cases[0])
    assert len(found) == layers
    for level in found:
        assert level.on == "point"
        assert level.functions.shape == (len(cases[0].mesh.points), 8)
        np.testing.assert_allclose(level.functions.T @ level.functions, np.eye(8), atol=1e-9)
        assert (np.diff(level.sizes) <= 0).all()
    written = write_basis(model, cases, tmp_path / "basis")
    assert [path.name for path in written] == [
        "basis_sizes.png",
        *(f"basis_{k + 1}.png" for k in range(layers)),
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    with pytest.raises(ValueError, match="at least one case"):
        write_basis(model, [], tmp_path)


def test_a_network_from_pictures_to_pictures_has_none():
    model = FNO(4, 1, 4, Image(8), descent=FEW).fit(family("any_topology").samples)
    with pytest.raises(ValueError, match="expected a network with a trunk"):
        model.basis(family("any_topology").queries[0])
