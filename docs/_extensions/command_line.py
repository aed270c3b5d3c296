"""``.. command-line::``: commands and options of ``scvi-cae``, from the command itself."""

from __future__ import annotations

from typing import Any


def describe(program: str) -> list[str]:
    """Lines of reStructuredText: each command with what it says of itself and of its options."""
    import typer

    from scvi_cae.cli import app

    lines: list[str] = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        usage = " ".join([program, name, *(p.metavar or p.name for p in arguments), "[options]"])
        lines += [f".. rubric:: {program} {name}", "", "::", "", f"    {usage}", ""]
        for paragraph in (command.help or "").split("\n\n"):
            lines += [" ".join(paragraph.split()), ""]
        for parameter in (*arguments, *options):
            names = parameter.opts if parameter in options else [parameter.metavar or parameter.name]
            text = " ".join((getattr(parameter, "help", None) or "").split())
            lines += [", ".join(f"``{x}``" for x in names), f"    {text}", ""]
    return lines


def setup(app: Any) -> dict[str, bool]:
    """Add the directive."""
    from docutils.parsers.rst import Directive
    from docutils.statemachine import StringList
    from sphinx.util.nodes import nested_parse_with_titles

    class CommandLine(Directive):
        """What ``scvi-cae --help`` says."""

        def run(self) -> list[Any]:
            """Parse the lines where the directive stands."""
            from docutils import nodes

            node = nodes.container()
            nested_parse_with_titles(self.state, StringList(describe("scvi-cae"), "scvi-cae"), node)
            return node.children

    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
