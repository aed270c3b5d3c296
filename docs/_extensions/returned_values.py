"""``Returns`` sections in sentences.

napoleon reads the lines of this section as a list of types with descriptions. Here it says in sentences what is
returned, with types from annotations, so it is made a field before napoleon sees it.
"""

from __future__ import annotations

from typing import Any


def is_underlined(lines: list[str], i: int) -> bool:
    """Whether a line is the title of a section."""
    return i + 1 < len(lines) and bool(lines[i].strip()) and set(lines[i + 1].strip()) == {"-"}


def as_field(lines: list[str]) -> list[str]:
    """Lines of a docstring with the section ``Returns``, if there is one, as the field ``:returns:``."""
    start = next((i for i in range(len(lines)) if lines[i] == "Returns" and is_underlined(lines, i)), None)
    if start is None:
        return lines
    end = next((i for i in range(start + 2, len(lines)) if is_underlined(lines, i)), len(lines))
    first, *others = lines[start + 2 : end]
    field = [f":returns: {first}", *(f"    {line}".rstrip() for line in others)]
    # Two blank lines end the section before.
    return [*lines[:start], "", "", *field, "", *lines[end:]]


def make_fields(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Change a docstring in place."""
    lines[:] = as_field(lines)


def setup(app: Any) -> dict[str, bool]:
    """Come before napoleon, which has the usual priority of 500."""
    app.connect("autodoc-process-docstring", make_fields, priority=400)
    return {"parallel_read_safe": True}
