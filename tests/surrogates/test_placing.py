"""Inputs arrive on devices as they were."""

import pytest
import torch

from fieldcast.surrogates.placing import placed


@pytest.mark.parametrize("where", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_inputs_arrive_whole(where: str):
    device = torch.device(where)
    for size in (0, 1, 100_000):
        inputs = torch.arange(float(size)).reshape(-1, 1)
        found = placed(inputs, device)
        assert found.device.type == where
        assert torch.equal((2.0 * found).cpu(), 2.0 * inputs)
