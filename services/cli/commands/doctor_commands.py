"""`segue doctor`: find out what is wrong with an installation."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from services.cli.render.fleet_view import FleetView
from services.cli.support.command_runner import run_command
from services.cli.support.health_checks import Finding, Level, fleet_findings, installation_findings
from services.cli.support.operations import follow, operator
from services.cli.support.options import DEFAULT_BROKER, Broker, Json, output, print_json, settings
from shared.bus.errors import BusError
from shared.bus.settings import BusSettings
from shared.service_runtime import ExitStatus

_STYLES = {Level.GOOD: "green", Level.HINT: "yellow", Level.BAD: "bold red"}


def doctor(
    listen_s: Annotated[float, typer.Option(min=0.1, help="How long to listen to the fleet, in seconds.")] = 6.0,
    data_dir: Annotated[Path | None, typer.Option(help="Where services keep their data; else your home.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Look at this machine only.")] = False,
    broker: Broker = DEFAULT_BROKER,
    as_json: Json = False,
) -> None:
    """Find out what is wrong with an installation, and what to do about it.

    Looks at Python, packages, Mosquitto and disk here; at the broker; and at every service and device of the fleet:
    presence, version, clock, links, streams. Exit status 1 if something is wrong, 4 if the broker is out of reach.
    """
    findings = list(installation_findings(data_dir or Path.home()))
    unreachable = False
    if not offline:
        address = settings(broker)
        found = run_command(lambda: _listen(address, listen_s))
        unreachable = isinstance(found, BusError)
        if isinstance(found, FleetView):
            findings.append(Finding(Level.GOOD, "broker", f"{address.address} speaks MQTT 5"))
            findings += fleet_findings(found, time.time())
        else:
            findings.append(Finding(Level.BAD, "broker", str(found)))
    if as_json:
        print_json([_document(finding) for finding in findings])
    else:
        _show(findings)
    if unreachable:
        raise typer.Exit(ExitStatus.OUT_OF_REACH)
    if any(finding.level is Level.BAD for finding in findings):
        raise typer.Exit(ExitStatus.FAILED)


async def _listen(address: BusSettings, listen_s: float) -> FleetView | BusError:
    view = FleetView()
    try:
        async with operator(address) as connection:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(listen_s):
                    await follow(connection, view)
    except BusError as error:
        return error
    return view


def _show(findings: Sequence[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.text)
        if finding.advice:
            text.append(f"\n{finding.advice}", style="italic")
        table.add_row(Text(finding.level.value, style=_STYLES[finding.level]), finding.subject, text)
    output().print(table)


def _document(finding: Finding) -> dict[str, str]:
    return {
        "level": finding.level.value,
        "subject": finding.subject,
        "text": finding.text,
        "advice": finding.advice,
    }
