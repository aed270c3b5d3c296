"""Checks of arguments that many functions share, and lists of names in messages."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd


def shorten(names: Sequence[Any] | np.ndarray | pd.Index, n_shown: int = 5) -> str:
    """The first names of a list and the number of the others, for a message.

    Parameters
    ----------
    names
        Names, of any type.
    n_shown
        Number of names to show.
    """
    shown = ", ".join(repr(str(name)) for name in list(names)[:n_shown])
    return shown + (f" and {len(names) - n_shown} more" if len(names) > n_shown else "")


def check_whole(
    value: object,
    name: str,
    minimum: int = 1,
    maximum: int | None = None,
    of: str = "",
    optional: bool = False,
) -> None:
    """Check that an argument is a whole number in a range.

    Parameters
    ----------
    value
        The argument.
    name
        Its name.
    minimum, maximum
        The range, bounds included; no upper bound by default.
    of
        What ``maximum`` is, for the message: ``"the number of genes"``.
    optional
        Whether ``None`` is allowed.

    Raises
    ------
    ValueError
        If it is anything else, a truth value included.
    """
    if value is None and optional:
        return
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if whole and minimum <= value and (maximum is None or value <= maximum):  # type: ignore[operator]
        return
    bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    raise ValueError(
        f"{name}={value!r} must be a whole number {bounds}{f', {of}' if of else ''}{', or None' if optional else ''}."
    )
