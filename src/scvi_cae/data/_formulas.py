"""Formulas of features, such as "`peak` - `threshold`": arithmetic, and nothing else, of columns of a table."""

from __future__ import annotations

import ast
import re
from typing import NamedTuple, Self

import numpy as np
import pandas as pd

#: A name in backticks.
_NAME = re.compile(r"`([^`]+)`")
_ARITHMETIC = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Name, ast.Load, ast.Constant),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd),
)


class Formula(NamedTuple):
    """Arithmetic of features."""

    text: str
    """As it was written, with names of features in backticks."""
    names: tuple[str, ...]
    """Names of its features."""
    expression: str
    """The same with names that any parser reads."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a formula.

        Parameters
        ----------
        text
            Numbers, names of features in backticks, parentheses, and ``+ - * / **``.

        Raises
        ------
        ValueError
            If it is anything else, such as a call of a function.
        """
        names = tuple(dict.fromkeys(_NAME.findall(text)))
        expression = _NAME.sub(lambda match: _placeholder(names.index(match[1])), text).strip()
        try:
            nodes = list(ast.walk(ast.parse(expression, mode="eval")))
        except SyntaxError:
            nodes = []
        known = {_placeholder(i) for i in range(len(names))}
        if not names or not all(_is_arithmetic(node, known) for node in nodes) or not nodes:
            raise ValueError(
                f"{text!r} is not a formula: write numbers, names of features in backticks, parentheses, and "
                "+ - * / **, as in '`peak` - `threshold`'."
            )
        return cls(text, names, expression)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Evaluate the formula.

        Parameters
        ----------
        values
            ``(n_cells, n_names)`` values of its features, in the order of ``names``.

        Returns
        -------
        ``(n_cells,)`` results in double precision, NaN where a value is missing or a divisor is 0.
        """
        columns = [_placeholder(i) for i in range(len(self.names))]
        frame = pd.DataFrame(np.asarray(values, dtype=np.float64), columns=columns)
        with np.errstate(all="ignore"):
            result = np.asarray(frame.eval(self.expression, engine="python"), dtype=np.float64)
        return np.where(np.isfinite(result), result, np.nan)


def is_formula(text: str) -> bool:
    """Whether a text names features in backticks."""
    return "`" in text


def _placeholder(i: int) -> str:
    return f"feature_{i}_"


def _is_arithmetic(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    return isinstance(node, _ARITHMETIC)
