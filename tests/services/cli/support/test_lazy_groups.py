"""Command groups that load a command when it is called."""

import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from services.cli.main import APP
from services.cli.support.lazy_groups import Entry, lazy_app

COMMAND = """
import typer

def greet(name: str = "nobody") -> None:
    \"\"\"Greet somebody.\"\"\"
    typer.echo(f"hello {name}")

GROUP = typer.Typer()
GROUP.callback()(lambda: None)
GROUP.command()(greet)
"""


def test_a_module_is_imported_when_its_command_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_command.py").write_text(COMMAND)
    monkeypatch.syspath_prepend(tmp_path)
    app = lazy_app([Entry("greet", "late_command:greet", "Greets."), Entry("group", "late_command:GROUP", "A group.")])
    listed = CliRunner().invoke(app, ["--help"])
    assert listed.exit_code == 0
    assert "Greets." in listed.stdout
    assert "late_command" not in sys.modules
    assert CliRunner().invoke(app, ["greet", "--name", "you"]).stdout == "hello you\n"
    assert CliRunner().invoke(app, ["group", "greet"]).stdout == "hello nobody\n"
    assert "Greet somebody." in CliRunner().invoke(app, ["greet", "--help"]).stdout
    del sys.modules["late_command"]


def test_paragraphs_of_help_are_not_broken_where_the_source_is() -> None:
    shown = get_command(APP)
    context = shown.make_context("segue", [], resilient_parsing=True)
    _, command, _ = shown.resolve_command(context, ["plan"])  # type: ignore[attr-defined]
    paragraphs = command.help.split("\n\n")
    assert all("\n" not in each for each in paragraphs if "\b" not in each)
    assert "\nsegue plan problem.json\n" in command.help
