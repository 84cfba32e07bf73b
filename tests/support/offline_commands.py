"""The offline commands `plan`, `schema`, `explain` and `simulate` in this process."""

import typer
from typer.testing import CliRunner, Result

from services.cli.commands.explain_commands import explain_command
from services.cli.commands.plan_commands import plan_command, schema_command
from services.cli.commands.simulate_commands import simulate_command


def offline_app() -> typer.Typer:
    """Return the offline commands as one application."""
    app = typer.Typer()
    app.command("plan")(plan_command)
    app.command("schema")(schema_command)
    app.command("explain")(explain_command)
    app.command("simulate")(simulate_command)
    return app


def run_offline(*arguments: str, text: str | None = None) -> Result:
    """Run an offline command in this process; `text` is its standard input."""
    return CliRunner().invoke(offline_app(), list(arguments), input=text)
