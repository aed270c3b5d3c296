"""Tables of cells: names, numbers and categories, whatever the order of the rows."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.datasets._tables import (
    by_pattern,
    python_name,
    read_features,
    read_metadata,
    read_table,
    word_of,
)

words = st.text("abc 12/", min_size=1, max_size=6).filter(str.strip)


def as_file(table: pd.DataFrame) -> io.StringIO:
    return io.StringIO(table.to_csv(index=False))


@given(
    rows=st.lists(
        st.tuples(words, st.none() | st.integers(-9, 9)), min_size=1, max_size=8, unique_by=lambda row: row[0]
    ),
    seed=st.integers(0, 99),
)
def test_a_cell_keeps_its_values_in_any_order(rows: list[tuple[str, int | None]], seed: int) -> None:
    cells = [f"cell{i}" for i in range(len(rows))]
    table = pd.DataFrame({"a type": [row[0] for row in rows], "cell": cells, "n": [row[1] for row in rows]})
    table["n"] = table["n"].astype("Int64")
    read = read_metadata(as_file(table.sample(frac=1, random_state=seed)), "cell", ["a type"], ["n"]).loc[
        cells
    ]
    assert list(read) == ["a_type", "n"]
    assert read["a_type"].to_list() == [row[0].strip() for row in rows]
    np.testing.assert_array_equal(
        read["n"].astype(float), [np.nan if row[1] is None else row[1] for row in rows]
    )


def test_names_of_cells_by_a_pattern() -> None:
    text = "n,ID\n1,sub-1_ses-20_x\n2,sub-1_ses-3_x\n"
    assert read_features(io.StringIO(text), "ID", pattern=r"_ses-(\d+)_").index.to_list() == ["20", "3"]
    with pytest.raises(ValueError, match=r"'ID' is 'sub-1_ses-20_x' in 2 rows, which does not name a cell"):
        read_features(io.StringIO(text), "ID", pattern="(cell)")
    with pytest.raises(ValueError, match="'cell' is nan in 1 rows"):
        read_features(io.StringIO("n,cell\n1,a\n2,\n"), "cell")
    with pytest.raises(ValueError, match="cell '3' is listed more than once"):
        read_features(io.StringIO(text.replace("20", "3")), "ID", pattern=r"_ses-(\d+)_")


def test_columns_are_stripped_and_required() -> None:
    assert list(read_table(io.StringIO("cell, a \nx,1\n"), "cell", ["a"])) == ["a"]
    with pytest.raises(ValueError, match="no column 'cell', 'b'; it has 'name', 'a'"):
        read_table(io.StringIO("name,a\nx,1\n"), "cell", ["b"])


def test_names_are_text_and_missing_words_are_missing() -> None:
    read = read_metadata(io.StringIO("id,t\n007,Sst Chodl\n8, \n9,NA\n"), "id", ["t"], [])
    assert read.index.to_list() == ["007", "8", "9"]
    assert read["t"].cat.categories.to_list() == ["NA", "Sst Chodl"]
    word = word_of(read["t"], 1)
    assert word.cat.categories.to_list() == ["Chodl"]
    assert word.isna().to_list() == [False, True, True]


@given(st.text(max_size=12))
def test_python_names(name: str) -> None:
    assert re.fullmatch(r"\w*", python_name(name))
    assert python_name(python_name(name)) == python_name(name)


def test_the_first_rule_counts() -> None:
    assert by_pattern(["v_ratio", "v", "x"], [("ratio", "1"), ("^v", "mV")]) == ["1", "mV", ""]
