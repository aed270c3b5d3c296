"""Formulas of features: arithmetic, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.data._formulas import Formula, is_formula

finite = st.floats(-1e6, 1e6)


@given(finite, finite, finite)
def test_they_are_evaluated_as_python_would(a, b, c):
    formula = Formula.parse("(`a (mV)` - `b @ +20pA`) * 1e-3 + `3db*c` ** 2 / -4")
    assert formula.names == ("a (mV)", "b @ +20pA", "3db*c")
    np.testing.assert_allclose(formula(np.array([[a, b, c]])), [(a - b) * 1e-3 + c**2 / -4], rtol=1e-12)


def test_missing_values_and_divisions_by_zero_are_missing():
    formula = Formula.parse("1 - 1 / `sag`")
    values = np.array([[2.0], [0.0], [np.nan], [np.inf]], dtype=np.float32)
    np.testing.assert_array_equal(formula(values), [0.5, np.nan, np.nan, 1])
    assert formula(np.empty((0, 1))).shape == (0,)
    np.testing.assert_array_equal(Formula.parse("`a` / `a`")(np.array([[0], [2]])), [np.nan, 1])


@pytest.mark.parametrize(
    "text",
    [
        "`a`.to_csv('x')",
        "__import__('os') + `a`",
        "`a` + b",
        "`a` if `a` else `b`",
        "[`a`]",
        "`a` + 'text'",
        "`a` + @pd",
        "`a` <  1",
        "`a` +",
        "1 + 2",
        "`a` + True",
        "`a`; `b`",
        "",
    ],
)
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises(ValueError, match="is not a formula: write numbers, names of features in backticks"):
        Formula.parse(text)


def test_a_name_is_no_formula():
    assert not is_formula("AP threshold (mV)")
    assert is_formula("`AP threshold (mV)` + 1")
