"""The `segue` command as a process, or as a function with captured output."""

import subprocess
import sys
from collections.abc import Awaitable, Callable

from typer.testing import CliRunner, Result

from services.cli.support.lazy_groups import Entry, lazy_app

SegueOnBus = Callable[..., Awaitable[subprocess.CompletedProcess[str]]]


def run_segue(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `segue ARGUMENTS` as a process."""
    return subprocess.run(
        [sys.executable, "-m", "services.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        input=stdin,
    )


def invoke_command(target: str, *arguments: str, stdin: str | None = None) -> Result:
    """Call the command function `module:function` of `services.cli.commands` with arguments of a command line."""
    app = lazy_app([Entry("command", f"services.cli.commands.{target}", "")])
    return CliRunner().invoke(app, ["command", *arguments], input=stdin)
