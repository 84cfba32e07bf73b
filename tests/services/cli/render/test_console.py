"""Consoles that escape control characters."""

import io

import pytest
from rich.table import Table
from rich.text import Text

from services.cli.render.console import MAX_FAULT_LINES, fault_lines, make_console, visible
from services.cli.support.errors import report
from shared.exit_status import ExitStatus, InputError

EVIL = "a\x1b[31mb\x07c\x9b2Jd\u202ee"
WRITTEN = "a\\x1b[31mb\\x07c\\x9b2Jd\\u202ee"


def test_control_characters_are_written_out_and_lines_stay() -> None:
    assert visible(EVIL) == WRITTEN
    assert visible("[bold]ä\n\t\u4e2d") == "[bold]ä\n\t\u4e2d"


def test_nothing_that_is_printed_steers_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = make_console()
    console.file, console.width = io.StringIO(), 200
    table = Table(EVIL, EVIL)
    table.add_row(EVIL, Text(EVIL, style="red"))
    console.print(EVIL, table, Text(EVIL))
    printed = console.file.getvalue()
    assert printed.count(WRITTEN.replace("\\x07", "")) == 6  # rich leaves bells out
    assert "\x1b[31mb" not in printed
    assert "\x07" not in printed
    assert "\u202e" not in printed


def test_many_faults_are_told_as_some_and_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(fault_lines(["x"] * MAX_FAULT_LINES)) == ["x"] * MAX_FAULT_LINES
    faults = [f"fault {number}\x1b" for number in range(10_000)]
    assert report(InputError("\n".join(faults))) is ExitStatus.INPUT_WRONG
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == MAX_FAULT_LINES + 1
    assert lines[0] == "error: fault 0\\x1b"
    assert lines[-1] == f"error: and {10_000 - MAX_FAULT_LINES} more"
