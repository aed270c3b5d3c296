"""Names of cells: rules that join them on request, and refusals that name the cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_cae.io import read_tables

CELLS = [f"Cell_{i}" for i in range(8)]


def frame(names, columns=("a", "b")):
    return pd.DataFrame(
        np.random.default_rng(0).normal(size=(len(names), 2)), index=names, columns=list(columns)
    )


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        ([f" {name}" for name in CELLS], "blanks"),
        ([name.upper() for name in CELLS], "case"),
        ([f"{name}.0" for name in CELLS], "decimals"),
        ([f"{name.lower()} " for name in CELLS], "all"),
        ([f"{name}-1" for name in CELLS], "suffix"),
    ],
)
def test_near_misses_are_joined_on_request_only(names, rule):
    ephys, morph = frame(CELLS), frame([*names[:6], "other"])
    if rule != "suffix":
        mdata = read_tables(ephys=ephys, morph=morph, verbose=False)
        assert mdata.n_obs == 15
        assert f"join='{rule}'" in mdata.uns["read_tables"].replace("\n", " ")
    else:
        morph = frame(names[:6])
        with pytest.raises(ValueError, match="Then join='suffix'"):
            read_tables(ephys=ephys, morph=morph)
    mdata = read_tables(ephys=ephys, morph=morph, join=rule, verbose=False)
    assert mdata["morph"].obs_names[:6].tolist() == CELLS[:6]  # as in the first table


def test_a_function_joins_names_that_look_different():
    ephys = frame([f"sub-7_ses-{i}_icephys.nwb" for i in range(100, 108)])
    obs = pd.DataFrame({"project": ["p"] * 8, "session": range(100, 108)})
    with pytest.raises(ValueError, match=r"'sub-7_ses-100_icephys.nwb'.*column 'session': '100'") as error:
        read_tables(ephys=ephys, obs=obs)
    # The fix that the message proposes works.
    proposed = str(error.value).split("join='")[1].split("'")[0]
    for join in (proposed, r"ses-(\d+)"):
        assert read_tables(ephys=ephys, obs=obs, join=join, verbose=False).n_obs == 8
    for join in ("(", "(a)(b)"):
        with pytest.raises(ValueError, match="parenthes|regular expression"):
            read_tables(ephys=ephys, obs=obs, join=join)
    mdata = read_tables(
        ephys=ephys, obs=obs, join=lambda name: name.split("ses-")[-1].split("_")[0], verbose=False
    )
    assert list(mdata.obs_names) == [str(i) for i in range(100, 108)]
    assert mdata.obs["project"].tolist() == ["p"] * 8
    with pytest.raises(ValueError, match="join= fails on names of 'obs'"):
        read_tables(
            ephys=ephys, obs=obs.set_index("session"), join=lambda name: name.split("ses-")[1], transposed=[]
        )


def test_unknown_rules_are_refused():
    with pytest.raises(
        ValueError, match="join='upper' must be one of 'blanks', 'case', 'decimals', 'all', 'suffix'"
    ):
        read_tables(ephys=frame(CELLS), join="upper")


def test_duplicated_and_empty_names_are_refused_by_name():
    with pytest.raises(ValueError, match=r"1 names of cells of 'ephys' are there more than once.*'Cell_3'"):
        read_tables(ephys=frame([*CELLS, "Cell_3"]))
    with pytest.raises(ValueError, match=r"more than once by join=.*'cell_3'"):
        read_tables(ephys=frame([*CELLS, "cell_3"]), join="case")
    with pytest.raises(ValueError, match="1 cells of 'ephys' have no name, the first in row 2"):
        read_tables(ephys=frame(["x", "", "y"]))


def test_a_row_that_repeats_another_value_by_value_is_left_out_and_said_so():
    ephys = frame(CELLS)
    mdata = read_tables(ephys=pd.concat([ephys, ephys.iloc[[2]]]), verbose=False)
    assert mdata.n_obs == 8
    assert "left out: rows that repeat another one, value by value: 'Cell_2'" in mdata.uns["read_tables"]
