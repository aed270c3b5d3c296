"""Pages that lie elsewhere in the repository: copies of the notebooks, and links that work there as well as here.

README, changelog, the data's description, the pages of ``docs/`` and the notebooks link to one another by relative
paths, so that they can be read where the repository is. In the site they are pages of one folder.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

#: Copies of the notebooks in ``tutorials/``, beside ``tutorials.md``; made anew in each build.
NOTEBOOKS = "generated/tutorials"
#: Pages that show a file from outside of ``docs/``.
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "data/README.md": "data.md"}

#: A Markdown link or image with a relative address, as in ``[text](docs/page.md#part)``.
LINK = re.compile(r"\]\((?!\w+:|#|/)(?P<path>[^)#\s]+)(?P<part>#[^)\s]*)?\)")


def site_path(target: str) -> str | None:
    """Where the site has a file of the repository, from the site's root; ``None`` if it is no page or image."""
    path = PurePosixPath(target)
    if target in PAGES:
        return "/" + PAGES[target]
    if path.parts[0] == "docs":
        return "/" + posixpath.join(*path.parts[1:])
    if path.parts[0] == "tutorials" and path.suffix in (".ipynb", ".py"):
        return f"/{NOTEBOOKS}/{path.stem}.ipynb"
    return None


def rewrite(text: str, origin: str, page: str | None = None) -> str:
    """Point a file's links to where the site has their targets.

    Parameters
    ----------
    text
        The file's text.
    origin
        The file, from the repository's root.
    page
        The page of ``docs/`` that shows it, if it is another file: other files, such as the citation, are then to be
        found from there.
    """

    def replaced(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match["path"]))
        path = site_path(target)
        if path is None:
            path = match["path"] if page is None else posixpath.relpath(target, posixpath.dirname(page))
        return f"]({path}{match['part'] or ''})"

    return LINK.sub(replaced, text)


def copy_notebooks(source: Path) -> None:
    """Copy the executed notebooks into the site's sources, if they have changed."""
    folder = source / NOTEBOOKS
    folder.mkdir(parents=True, exist_ok=True)
    notebooks = {path.name: path for path in sorted((source.parent / "tutorials").glob("*.ipynb"))}
    for copy in folder.glob("*.ipynb"):
        if copy.name not in notebooks:
            copy.unlink()
    for name, path in notebooks.items():
        copy = folder / name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)


def rewrite_page(app: Any, docname: str, content: list[str]) -> None:
    """Rewrite the links of a page of ``docs/`` or of a notebook."""
    if docname.startswith(NOTEBOOKS):
        content[0] = rewrite(content[0], f"tutorials/{docname.rpartition('/')[2]}.ipynb")
    elif not docname.startswith("generated/"):
        content[0] = rewrite(content[0], f"docs/{docname}.md")


def rewrite_included(app: Any, path: Path, docname: str, content: list[str]) -> None:
    """Rewrite the links of an included file."""
    origin = posixpath.normpath(posixpath.join("docs", path.as_posix()))
    content[0] = rewrite(content[0], origin, page=f"docs/{docname}.md")


def setup(app: Any) -> dict[str, bool]:
    """Copy notebooks before anything is read, and rewrite what is read."""
    app.connect("config-inited", lambda app, config: copy_notebooks(Path(app.srcdir)))
    app.connect("source-read", rewrite_page)
    app.connect("include-read", rewrite_included)
    return {"parallel_read_safe": True}
