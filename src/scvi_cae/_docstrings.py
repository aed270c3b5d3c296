"""Descriptions of parameters that several functions share: written once, inserted into each docstring."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Documented = TypeVar("Documented", bound="Callable[..., Any]")

#: A line of a docstring that holds nothing but ``%(name)s``, with its indentation.
PLACEHOLDER = re.compile(r"^([ \t]*)%\((\w+)\)s[ \t]*$", re.MULTILINE)


def insert_descriptions(**descriptions: str) -> Callable[[Documented], Documented]:
    """Make a decorator that replaces placeholders in a docstring by descriptions.

    A line that holds only ``%(name)s`` becomes the entry of a numpydoc section: the name, and below it the indented
    description. Use it for functions, methods (below ``@classmethod`` or ``@property``) and classes.

    Parameters
    ----------
    **descriptions
        Description of each name. Line breaks are kept; common indentation and blank lines at either end are removed.

    Returns
    -------
    The decorator. It returns the decorated object itself.

    Raises
    ------
    KeyError
        If a docstring has a placeholder without a description.

    Examples
    --------
    >>> describe = insert_descriptions(x="Values.", n="Number of values.")
    >>> @describe
    ... def head(x, n):
    ...     '''First values.
    ...
    ...     %(x)s
    ...     %(n)s
    ...     '''
    >>> print(inspect.getdoc(head))
    First values.
    <BLANKLINE>
    x
        Values.
    n
        Number of values.
    """
    entries = {name: [name, *_indented(text)] for name, text in descriptions.items()}

    def insert(documented: Documented) -> Documented:
        def entry(placeholder: re.Match[str]) -> str:
            indentation, name = placeholder.groups()
            if name not in entries:
                raise KeyError(
                    f"The docstring of {documented.__qualname__} has the placeholder %({name})s, which has no "
                    f"description. Described are {', '.join(entries)}."
                )
            return "\n".join(indentation + line if line else "" for line in entries[name])

        if documented.__doc__ is not None:  # python -OO removes docstrings
            documented.__doc__ = PLACEHOLDER.sub(entry, documented.__doc__)
        return documented

    return insert


def _indented(text: str) -> list[str]:
    return [f"    {line}" if line else "" for line in inspect.cleandoc(text).splitlines()]
