"""Command groups that import a command's module only when it is called, so that `segue --help` stays quick."""

import importlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """A command whose module is imported when it is called.

    Attributes:
        name: the word on the command line.
        target: `module:attribute`; the attribute is a function for typer, or a `typer.Typer` with further commands.
        help: one line for the list of commands.
        panel: heading above it in that list.
    """

    name: str
    target: str
    help: str
    panel: str | None = None


def lazy_app(entries: Iterable[Entry], **settings: Any) -> typer.Typer:
    """Return an application with the commands `entries`.

    Args:
        entries: the commands, in the order in which help lists them.
        **settings: for `typer.Typer`.
    """
    known = {entry.name: entry for entry in entries}

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**{**attributes, "commands": {}})
            # Help lists these stubs; `resolve_command` replaces the one that is called.
            for entry in known.values():
                stub = TyperCommand(entry.name, help=entry.help, rich_help_panel=entry.panel)
                self.add_command(stub, entry.name)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name, command, rest = super().resolve_command(ctx, args)
            return (name, command, rest) if name is None else (name, load(known[name]), rest)

    app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, **settings)
    app.callback()(_no_options)
    return app


def load(entry: Entry) -> Any:
    """Import a command; return it as a click command."""
    module, _, attribute = entry.target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(entry.name, help=_reflowed(inspect.getdoc(target) or entry.help))(target)
        target = app
    command = typer.main.get_command(target)
    command.name = entry.name
    return command


def _reflowed(text: str) -> str:
    """Join the lines of every paragraph. A paragraph with a backspace keeps its lines, as click has it."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(text if "\b" in text else " ".join(text.split()) for text in paragraphs)


def _no_options() -> None:
    """Hold the commands: typer needs a callback for a group without options."""
