"""API pages from each package's ``__all__``, so that what is public is documented without a list to keep.

``.. public:: scvi_cae.tl`` in ``api.md`` is a table of everything in that package's ``__all__``, each with a page of
its own. An object is listed once, where it comes first. The functions below need no Sphinx; tests use them.
"""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Folder of the pages, beside ``api.md``; made anew in each build.
PAGES = "generated/api"
#: What models inherit from scvi-tools and users of them need; other inherited members are left out.
INHERITED = ("history", "is_trained", "train_indices", "validation_indices", "test_indices")
#: A link to an object, such as ``:meth:`~package.Class.method```.
ROLE = re.compile(r":(?:py:)?\w+:`~?(?:[\w.]*\.)?(\w+)`")


def listed_packages(api_page: str) -> list[str]:
    """Packages that the text of ``api.md`` lists, in its order."""
    return re.findall(r"^\.\. public:: (\S+)$", api_page, flags=re.MULTILINE)


def public_objects(package: str) -> dict[str, Any]:
    """What is in a package's ``__all__``, by name, without modules and names like ``__version__``."""
    module = import_module(package)
    things = {name: getattr(module, name) for name in module.__all__ if not name.startswith("__")}
    return {name: thing for name, thing in things.items() if not inspect.ismodule(thing)}


def api_names(packages: list[str]) -> dict[str, list[str]]:
    """Names by package, without objects that an earlier package has."""
    seen: set[int] = set()
    names: dict[str, list[str]] = {}
    for package in packages:
        things = public_objects(package)
        names[package] = [name for name, thing in things.items() if id(thing) not in seen]
        seen |= {id(thing) for thing in things.values()}
    return names


def own_members(cls: type) -> Iterator[tuple[str, str]]:
    """Public methods and properties that this package defines, and ``INHERITED``, with the directive for each."""
    root = _root_package(cls)
    seen = set()
    for base in cls.__mro__:
        own = _root_package(base) == root
        for name, member in vars(base).items():
            if name.startswith("_") or name in seen or not (own or name in INHERITED):
                continue
            seen.add(name)
            if isinstance(member, property):
                yield name, "autoproperty"
            elif inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod)):
                yield name, "automethod"


def _root_package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def page(package: str, name: str) -> str:
    """Text of an object's page."""
    thing = getattr(import_module(package), name)
    # Two packages may have the same name, and the contents show titles alone.
    title = f"{package}.{name}".removeprefix("scvi_cae.")
    lines = [title, "=" * len(title), "", f".. currentmodule:: {package}", ""]
    if inspect.isclass(thing):
        lines += [f".. autoclass:: {name}", ""]
        for member, directive in sorted(own_members(thing)):
            lines += [f"   .. {directive}:: {name}.{member}", ""]
    elif inspect.isroutine(thing):
        lines += [f".. autofunction:: {name}", ""]
    else:
        lines += [f".. autodata:: {name}", "   :no-value:", ""]
    return "\n".join(lines)


def write_pages(source: Path) -> None:
    """Write the page of every public object; leave those that have not changed, and remove those of no one."""
    folder = source / PAGES
    folder.mkdir(parents=True, exist_ok=True)
    packages = listed_packages((source / "api.md").read_text(encoding="utf-8"))
    pages = {
        f"{package}.{name}.rst": page(package, name)
        for package, names in api_names(packages).items()
        for name in names
    }
    for path in folder.glob("*.rst"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def comment_of(name: str) -> list[str] | None:
    """The ``#:`` comment of a constant, which stands where it is assigned rather than where it is public."""
    from sphinx.pycode import ModuleAnalyzer

    package, _, constant = name.rpartition(".")
    value = getattr(sys.modules[package], constant)
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(package) and getattr(module, constant, None) is value:
            comments = ModuleAnalyzer.for_module(module_name).find_attr_docs()
            if ("", constant) in comments:
                return comments["", constant]
    return None


def describe_constant(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Replace a constant's docstring, which is that of its type, by its comment and what it holds."""
    if what == "data":
        several = isinstance(thing, (dict, list, tuple, set, frozenset))
        lines[:] = [
            *(comment_of(name) or []),
            "",
            ", ".join(f"``{x!r}``" for x in (thing if several else [thing])),
        ]


def setup(app: Any) -> dict[str, bool]:
    """Add the directive."""
    from docutils import nodes
    from docutils.statemachine import StringList
    from sphinx.ext.autosummary import Autosummary

    class Public(Autosummary):
        """Table of a package's public objects, with links to their pages."""

        required_arguments = 1
        has_content = False

        def run(self) -> list[Any]:
            """Make an autosummary of the names."""
            package = self.arguments[0]
            text = (Path(self.env.srcdir) / "api.md").read_text(encoding="utf-8")
            names = api_names(listed_packages(text))[package]
            self.content = [f"~{package}.{name}" for name in names]  # type: ignore[assignment]
            self.options["toctree"] = PAGES
            table = super().run() if names else []
            # The directive makes the package something to link to; names after it are not to be looked up there.
            self.state.nested_parse(StringList([f".. py:module:: {package}"], "public"), 0, nodes.container())
            self.env.ref_context.pop("py:module", None)
            return [nodes.container("", *table, ids=[f"module-{package}"])]

        def get_items(self, names: list[str]) -> list[tuple[str, str | None, str, str]]:
            """Summaries with names as they are: links to a class's own methods lead nowhere from a table."""
            return [
                (name, signature, ROLE.sub(r"``\1``", summary), real_name)
                for name, signature, summary, real_name in super().get_items(names)
            ]

    app.add_directive("public", Public)
    app.connect("config-inited", lambda app, config: write_pages(Path(app.srcdir)))
    # What is public may have changed although the page has not.
    app.connect("env-get-outdated", lambda app, env, added, changed, removed: ["api"])
    app.connect("autodoc-process-docstring", describe_constant)
    return {"parallel_read_safe": True}
