"""Words for missing values, truth values, text, and numbers with words among them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_cae.io import read_tables

CELLS = pd.Index([f"c{i}" for i in range(6)])


def ephys(*values, **kwargs):
    frame = pd.DataFrame({"a": np.arange(6) / 2, "b": list(values)}, index=CELLS)
    return read_tables(ephys=frame, verbose=False, **kwargs)["ephys"]


@pytest.mark.parametrize(
    "word", ["NA", "n/a", "None", "<NA>", "", " nan ", "NULL", "#N/A", None, pd.NA, np.nan]
)
def test_missing_values_in_all_ways(word):
    found = ephys("1", word, "2.5", "3", "4", "5")
    np.testing.assert_array_equal(found[:, "b"].X.ravel(), [1, np.nan, 2.5, 3, 4, 5])


def test_other_words_and_numbers_are_missing_on_request():
    values = ("1", "fail", "2", "-999", "-999.0", "Fail ")
    found = ephys(*values, missing=["fail", -999])
    np.testing.assert_array_equal(found[:, "b"].X.ravel(), [1, np.nan, 2, np.nan, np.nan, np.nan])
    found = ephys(1, 2, -999, 4, 5, 6, missing=-999)
    np.testing.assert_array_equal(found[:, "b"].X.ravel(), [1, 2, np.nan, 4, 5, 6])
    assert ephys(1, 2, -999, 4, 5, 6)[:, "b"].X.min() == -999


def test_a_few_words_among_numbers_are_refused_with_a_fix_that_works():
    with pytest.raises(
        ValueError, match=r"column 'b' has numbers, and 1 other entries: 'fail'.*row 'c1'"
    ) as error:
        ephys("1", "fail", "2", "3", "4", "5")
    fix = str(error.value).split("missing: ")[1].split(". Otherwise")[0]
    assert np.isnan(ephys("1", "fail", "2", "3", "4", "5", **eval(f"dict({fix})"))["c1", "b"].X).all()


def test_two_decimal_marks_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("cell;v;w\na;1,5;2.5\nb;2,5;3.5\n")
    with pytest.raises(
        ValueError, match="column 'v' has decimal commas .'1,5' and 1 more., where others have points"
    ):
        read_tables(ephys=tmp_path / "t.csv")


def test_a_modality_without_numbers_is_refused():
    with pytest.raises(ValueError, match="no column of 'ephys' has numbers"):
        read_tables(ephys=pd.DataFrame({"a": list("xyz")}, index=list("abc")))


def test_infinite_values_are_said():
    assert (
        "1 infinite values"
        in read_tables(ephys=pd.DataFrame({"a": [1, np.inf]}, index=["x", "y"]), verbose=False).uns[
            "read_tables"
        ]
    )


def test_truth_values_are_numbers_and_text_goes_to_obs():
    np.testing.assert_array_equal(
        ephys("TRUE", "false", "", "True", "FALSE", "NA")[:, "b"].X.ravel(), [1, 0, np.nan, 1, 0, np.nan]
    )
    np.testing.assert_array_equal(
        ephys(True, False, True, True, False, True)[:, "b"].X.ravel(), [1, 0, 1, 1, 0, 1]
    )
    found = ephys("exc", "inh", None, "exc", "n/a", "inh")
    assert list(found.var_names) == ["a"]
    assert found.obs["b"].isna().tolist() == [False, False, True, False, True, False]
    assert list(found.obs["b"].cat.categories) == ["exc", "inh"]


def test_classes_that_are_numbers_in_part_are_text():
    found = ephys("1", "2/3", "5", "5", "6", "10")
    assert list(found.obs["b"].cat.categories) == ["1", "2/3", "5", "6", "10"]


def test_annotations_keep_numbers_whole_and_mix_them_with_words():
    obs = pd.DataFrame(
        {
            "age": [30, 31, 32, 33, 34, 35],
            "depth": ["1.5", "2", "Slice Lost", "3", "", "4"],
            "batch/day": list("ababab"),
        },
        index=CELLS,
    )
    table = pd.DataFrame({"a": np.arange(6.0)}, index=CELLS)
    mdata = read_tables(ephys=table, obs=obs, verbose=False)
    assert mdata.obs["age"].dtype == np.int64
    assert mdata.obs["depth"].tolist()[:3] == ["1.5", "2", "Slice Lost"]
    assert "'batch/day' to 'batch_day'" in mdata.uns["read_tables"].replace("\n", "")
    assert "missing=['Slice Lost']" in mdata.uns["read_tables"]
    mdata = read_tables(ephys=table, obs=obs, missing=["Slice Lost"], verbose=False)
    np.testing.assert_array_equal(mdata.obs["depth"], [1.5, 2, np.nan, 3, np.nan, 4])


def test_duplicated_columns_are_refused_by_name():
    frame = pd.DataFrame(np.ones((6, 3)), index=CELLS, columns=["a", "b", "a"])
    with pytest.raises(ValueError, match="1 columns have the same name as another one: 'a'"):
        read_tables(ephys=frame)
