"""Options that several commands have, and how they print."""

from typing import Annotated, Any

import typer
from rich.console import Console

from services.cli.render.console import make_console
from shared.bus.settings import BusSettings

DEFAULT_BROKER = "mqtt://localhost:1883"

Broker = Annotated[
    str,
    typer.Option(
        "--broker",
        "-b",
        envvar="SEGUE_BROKER",
        metavar="ADDRESS",
        help="mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts://...?ca=FILE for TLS.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, for programs.")]
Timeout = Annotated[float, typer.Option("--timeout-s", min=0.1, help="How long to wait, in seconds.")]


def settings(broker: str) -> BusSettings:
    """Read the broker's address.

    Raises:
        SettingsError: it cannot be understood.
    """
    return BusSettings.from_address(broker)


def output() -> Console:
    """Return the console for results: standard output. Names of users are printed as they are."""
    return make_console()


def notes() -> Console:
    """Return the console for what is said on the way: standard error."""
    return make_console(stderr=True)


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    import json

    typer.echo(json.dumps(document, indent=2, allow_nan=False))
