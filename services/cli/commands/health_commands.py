"""`segue health`: whether the services on this machine work, for people and for probes."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.health_answer import BROKER, answer
from services.cli.support.options import Json
from shared.exit_status import ExitStatus, InputError
from shared.health.health_query import ROLES


def health_command(
    role: Annotated[
        str | None,
        typer.Argument(
            metavar="[ROLE]", help=f"{', '.join((*ROLES, BROKER))}. All services but the broker if not given."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Only the service, or the device, of this name.", show_default=False)
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="A service that answers is good, even if it does not reach the broker.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port of a broker without TLS; 1883 if not given."),
    ] = None,
    fleet: Annotated[
        Path | None,
        typer.Option("--fleet", envvar="SEGUE_FLEET", metavar="DIR", help="Folder of the broker's fleet."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask the services that this user runs on this machine whether they work. One line for each.

    A service is ready when it has started and reaches the broker. A process that hangs does not answer within 2 s.
    Exit status 0 if all are ready, 1 if one is not, or if none runs. `segue doctor` looks at the whole fleet instead.
    """
    if role is not None and role not in (*ROLES, BROKER):
        raise InputError(f"there is no role {role!r}: use one of {', '.join((*ROLES, BROKER))}")
    status = answer(role, name=name, is_alive_enough=live, port=port, fleet=fleet, as_json=as_json)
    if status is not ExitStatus.DONE:
        raise typer.Exit(status)
