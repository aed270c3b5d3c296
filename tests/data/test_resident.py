from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_mdata
from scvi_cae.data import AlignedMatrix, ResidentData, StackedData
from scvi_cae.module import Arm, ArmConfig


def arm(aligned):
    return Arm(aligned.n_features, 2, ArmConfig())


def resident(mdata):
    aligned = {name: AlignedMatrix(mdata, name, None, list(mdata[name].var_names)) for name in mdata.mod}
    return aligned, ResidentData(aligned, {name: arm(x).observe for name, x in aligned.items()})


@given(st.integers(0, 1000), st.floats(0, 0.5))
def test_a_minibatch_is_what_the_aligned_modality_says(seed, missing):
    mdata = make_mdata(40, missing={"ephys": missing}, seed=seed)
    aligned, data = resident(mdata)
    cells = np.random.default_rng(seed).integers(mdata.n_obs, size=12)
    for name, x in data.minibatch(torch.from_numpy(cells)).items():
        values = aligned[name].values(cells)
        observed = x.observed.expand(x.values.shape).numpy() > 0
        np.testing.assert_array_equal(observed, ~np.isnan(values))
        np.testing.assert_array_equal(x.values.numpy()[observed], values[observed])
        assert (x.values.numpy()[~observed] == 0).all()
        np.testing.assert_array_equal(x.present.numpy(), observed.any(1))


def test_a_modality_without_gaps_has_a_mask_of_cells():
    _, data = resident(make_mdata(30, missing={"ephys": 0.2}))
    batch = data.minibatch(torch.arange(10))
    assert batch["rna"].observed.shape == (10, 1)
    assert batch["ephys"].observed.shape == (10, 8)


def test_a_cell_without_any_value_lacks_the_modality():
    mdata = make_mdata(30)
    mdata["ephys"].X[3] = np.nan
    aligned, data = resident(mdata)
    cell = mdata.obs_names.get_loc(mdata["ephys"].obs_names[3])
    assert not aligned["ephys"].present[cell]
    assert not data.minibatch(torch.tensor([cell]))["ephys"].present.any()


def test_stacked_data_give_each_member_its_cells_under_its_standardisation():
    mdata = make_mdata(40, missing={"ephys": 0.1})
    aligned, first = resident(mdata)
    shifted = {name: arm(x) for name, x in aligned.items()}
    for x in shifted.values():
        x.likelihood.standardiser.mean.fill_(2.0)
    second = ResidentData(aligned, {name: x.observe for name, x in shifted.items()})
    stacked = StackedData([first, second], [1, 0, 1])
    cells = torch.tensor([[0, 5, 7], [3, 3, stacked.padding], [9, stacked.padding, stacked.padding]])
    found = stacked.minibatch(cells)
    for member, data in enumerate((second, first, second)):
        real = cells[member] < stacked.padding
        expected = data.minibatch(cells[member][real])
        for name, x in found.items():
            for part, other in zip(x, expected[name], strict=True):
                assert part is other is None or torch.equal(part[member][real], other)
            assert not x.present[member][~real].any()
