"""Shared descriptions of parameters in docstrings."""

from __future__ import annotations

import doctest
import inspect

import pytest

from scvi_cae import _docstrings
from scvi_cae._docstrings import insert_descriptions

describe = insert_descriptions(
    mdata="MuData.",
    cells="""
        Which cells:

        - all,
        - none.
    """,
)

EXPECTED = """A summary of 5 %.

Parameters
----------
mdata
    MuData.
cells
    Which cells:

    - all,
    - none.
n
    A number, not %(a placeholder)s."""


class Documented:
    """A summary of 5 %.

    Parameters
    ----------
    %(mdata)s
    %(cells)s
    n
        A number, not %(a placeholder)s.
    """

    @classmethod
    @describe
    def method(cls):
        """A summary of 5 %.

        Parameters
        ----------
        %(mdata)s
        %(cells)s
        n
            A number, not %(a placeholder)s.
        """


def test_functions_classes_and_methods_have_the_descriptions():
    assert describe(Documented) is Documented
    assert inspect.getdoc(Documented) == EXPECTED
    assert inspect.getdoc(Documented.method) == EXPECTED


def test_an_unknown_placeholder_is_named():
    def function():
        """%(nothing)s"""

    with pytest.raises(KeyError, match=r"function has the placeholder %\(nothing\)s.*mdata, cells"):
        describe(function)


def test_without_docstrings_nothing_is_inserted():
    def function():
        pass

    assert describe(function).__doc__ is None


def test_examples_run():
    assert doctest.testmod(_docstrings).failed == 0
