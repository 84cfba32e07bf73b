"""`segue doctor`: check an installation and its fleet."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from services.cli.render.console import print_json, results_console
from services.cli.support.broker_access import OVERSEERS, BrokerAccess, broker_access
from services.cli.support.command_runner import run_command
from services.cli.support.fleet_operations import listen
from services.cli.support.health_checks import (
    Finding,
    Level,
    exposure_findings,
    fleet_findings,
    installation_findings,
    retained_findings,
)
from services.cli.support.options import Broker, Insecure, Json
from services.cli.support.retained_messages import read_retained
from shared.bus.errors import BusError
from shared.bus.roles import Role
from shared.exit_status import ExitStatus
from shared.user_folders import user_data_folder

_STYLES: Final = {Level.GOOD: "green", Level.HINT: "yellow", Level.BAD: "bold red"}


def doctor_command(
    listen_s: Annotated[float, typer.Option(min=0.1, help="Time to listen to the fleet, in seconds.")] = 6.0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Data folder of the services; the usual one if not given.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Look at this machine only.")] = False,
    broker: Broker = None,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Check an installation and print what is wrong and how to correct it.

    Checks Python, packages, Mosquitto and free disk space on this machine, and whether the broker answers.
    Checks presence, version, clock, links and streams of every service and device of the fleet, and what the broker has
    retained.
    Exit status 1 if something is wrong, 4 if the broker is out of reach.
    """
    findings = list(installation_findings(data_dir or user_data_folder()))
    broker_error = None
    if not offline:
        access = broker_access(broker, insecure, tuple(Role))
        try:
            findings += exposure_findings(access.settings)
            findings += _fleet(access, listen_s)
        except BusError as error:
            broker_error = error
            findings.append(Finding(Level.BAD, "broker", str(error)))
    if as_json:
        print_json([_document(finding) for finding in findings])
    else:
        _show(findings)
    if broker_error is not None:
        raise typer.Exit(ExitStatus.OUT_OF_REACH)
    if any(finding.level is Level.BAD for finding in findings):
        raise typer.Exit(ExitStatus.FAILED)


def _fleet(access: BrokerAccess, listen_s: float) -> list[Finding]:
    address = access.settings
    retained = run_command(lambda: read_retained(address))
    reachable = Finding(Level.GOOD, "broker", f"{address.address} speaks MQTT 5")
    account = access.account
    if account is not None and account.role not in OVERSEERS:
        text = f"the account {account.account} has the role {account.role}, which does not see the fleet"
        advice = "to check the fleet, choose the account of an operator or a viewer with --broker"
        return [reachable, Finding(Level.HINT, "fleet", text, advice)]
    view = run_command(lambda: listen(address, listen_s))
    now_s = time.time()
    return [reachable, *fleet_findings(view, now_s), *retained_findings(retained, view, now_s, address)]


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
    results_console().print(table)


def _document(finding: Finding) -> dict[str, str]:
    return {
        "level": finding.level.value,
        "subject": finding.subject,
        "text": finding.text,
        "advice": finding.advice,
    }
