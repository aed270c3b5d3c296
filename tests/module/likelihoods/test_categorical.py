from __future__ import annotations

import numpy as np
import pytest
import torch

from scvi_cae.module import Arm, ArmConfig


def test_loss_is_the_cross_entropy_of_the_cells_with_a_label():
    arm = Arm(3, 2, ArmConfig("categorical", hidden=()), 1)
    codes = torch.tensor([0, 2, 1, 0, 2])
    values = torch.nn.functional.one_hot(codes, 3).float()
    values[3] = torch.nan
    z = torch.randn(1, 5, 2)
    loss = arm.reconstruction_losses(arm.decoder.hidden(z), arm.observe(values), torch.ones(1, 5))
    keep = [0, 1, 2, 4]
    expected = torch.nn.functional.cross_entropy(arm.decoder(z[0])[keep], codes[keep])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_each_class_has_one_place():
    arm = Arm(3, 2, ArmConfig("categorical", hidden=(), dropout=0.0)).eval()
    values = np.eye(3, dtype=np.float32)[[0, 1, 0, 2]]
    z = arm.encode(arm.observe(torch.from_numpy(values)))
    assert torch.equal(z[0], z[2])
    assert not torch.equal(z[0], z[1])
