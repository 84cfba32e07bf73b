"""`segue doctor`: check an installation and its fleet."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from services.cli.render.console import notes_console, print_json, results_console
from services.cli.render.fleet_view import FleetView
from services.cli.support.broker_access import OVERSEERS, BrokerAccess, accounts_folder, broker_access
from services.cli.support.broker_contract import try_contract
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
from services.cli.support.output_files import check_file
from services.cli.support.report_bundle import report_members, write_bundle
from services.cli.support.retained_messages import RetainedMessages, read_retained
from services.cli.support.secret_scrubber import SecretScrubber, secrets_in_environment, secrets_in_folders
from shared.bus.errors import BusError
from shared.bus.roles import Role
from shared.exit_status import ExitStatus, InputError
from shared.user_folders import SYSTEM_FOLDER, user_data_folder

_STYLES: Final = {Level.GOOD: "green", Level.HINT: "yellow", Level.BAD: "bold red"}


def doctor_command(
    listen_s: Annotated[float, typer.Option(min=0.1, help="Time to listen to the fleet, in seconds.")] = 6.0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Data folder of the services; the usual one if not given.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Look at this machine only.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE",
            help="Write one archive (.tar.gz) for a bug report, without secrets, requests and results.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        list[Path] | None,
        typer.Option("--log", metavar="FILE", help="A log whose last lines belong to the bundle; repeat it."),
    ] = None,
    contract: Annotated[
        bool, typer.Option("--contract", help="Try what Segue needs of a broker, on this broker, and nothing else.")
    ] = False,
    second: Annotated[
        str | None,
        typer.Option(
            "--second",
            metavar="ADDRESS",
            help="With --contract: another node of its cluster, or the other end of a bridge, at which to receive.",
            show_default=False,
        ),
    ] = None,
    broker: Broker = None,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Check an installation and print what is wrong and how to correct it.

    Checks Python, packages, Mosquitto and free disk space on this machine, and whether the broker answers.
    Checks presence, version, clock, links and streams of every service and device of the fleet, and what the broker has
    retained.
    With --contract, whether the broker does what Segue needs of one (docs/brokers.md); nothing stays there.
    Exit status 1 if something is wrong, 4 if the broker is out of reach.
    """
    check_file("--bundle", bundle)
    if log and bundle is None:
        raise InputError("--log names a file for --bundle")
    if contract:
        _check_contract(broker, second, insecure, as_json)
        return
    if second is not None:
        raise InputError("--second is for --contract")
    folder = data_dir or user_data_folder()
    findings = list(installation_findings(folder))
    broker_error = None
    access = None if offline else broker_access(broker, insecure, tuple(Role))
    fleet = _ObservedFleet()
    if access is not None:
        try:
            findings += exposure_findings(access.settings)
            fleet = _observe(access, listen_s)
            findings += _findings_of(fleet, access)
        except BusError as error:
            broker_error = error
            findings.append(Finding(Level.BAD, "broker", str(error)))
    if bundle is not None:
        _write_bundle(bundle, findings, access, fleet, folder, log or ())
    if as_json:
        print_json([_document(finding) for finding in findings])
    else:
        _show(findings)
    if broker_error is not None:
        raise typer.Exit(ExitStatus.OUT_OF_REACH)
    if any(finding.level is Level.BAD for finding in findings):
        raise typer.Exit(ExitStatus.FAILED)


def _check_contract(broker: str | None, second: str | None, insecure: bool, as_json: bool) -> None:
    """Try the contract, print a line for each need, and end with status 1 if a required one is not kept."""
    settings = broker_access(broker, insecure, tuple(Role)).settings
    other = None if second is None else broker_access(second, insecure, tuple(Role)).settings
    results = run_command(lambda: try_contract(settings, other))
    findings = [
        Finding(
            Level.GOOD if result.is_kept else Level.BAD if result.check.is_required else Level.HINT,
            result.check.need,
            result.text if result.is_kept else f"{result.text} (Segue needs it: {result.check.reason})",
        )
        for result in results
    ]
    if as_json:
        print_json([_document(finding) for finding in findings])
    else:
        _show(findings)
    if any(finding.level is Level.BAD for finding in findings):
        raise typer.Exit(ExitStatus.FAILED)


@dataclass(frozen=True, slots=True)
class _ObservedFleet:
    """What the broker has retained, and the fleet's state; None where it was not looked at."""

    retained: RetainedMessages | None = None
    view: FleetView | None = None


def _observe(access: BrokerAccess, listen_s: float) -> _ObservedFleet:
    retained = run_command(lambda: read_retained(access.settings))
    if access.account is not None and access.account.role not in OVERSEERS:
        return _ObservedFleet(retained)
    return _ObservedFleet(retained, run_command(lambda: listen(access.settings, listen_s)))


def _findings_of(fleet: _ObservedFleet, access: BrokerAccess) -> Iterator[Finding]:
    yield Finding(Level.GOOD, "broker", f"{access.settings.address} speaks MQTT 5")
    if fleet.view is not None and fleet.retained is not None:
        now_s = time.time()
        yield from fleet_findings(fleet.view, now_s)
        yield from retained_findings(fleet.retained, fleet.view, now_s, access.settings)
    elif access.account is not None:
        text = f"the account {access.account.account} has the role {access.account.role}, which does not see the fleet"
        advice = "to check the fleet, choose the account of an operator or a viewer with --broker"
        yield Finding(Level.HINT, "fleet", text, advice)


def _write_bundle(
    path: Path,
    findings: Sequence[Finding],
    access: BrokerAccess | None,
    fleet: _ObservedFleet,
    data_dir: Path,
    logs: Sequence[Path],
) -> None:
    settings = None if access is None else access.settings
    account = None if access is None else access.account
    members = report_members(
        findings,
        settings=settings,
        account=account,
        view=fleet.view,
        retained=fleet.retained,
        data_dir=data_dir,
        logs=logs,
    )
    known = [
        *secrets_in_environment(os.environ),
        *secrets_in_folders((accounts_folder(), data_dir, Path(os.environ.get("SEGUE_FLEET", "fleet")), SYSTEM_FOLDER)),
        *([] if settings is None else [settings.password or ""]),
        *([] if account is None else [account.password, account.signing_key]),
    ]
    try:
        size_bytes = write_bundle(path, members, SecretScrubber(known))
    except OSError as error:
        raise InputError(f"--bundle {path}: {error.strerror}") from None
    text = f"{path}: {len(members)} files, {size_bytes / 1e3:.0f} kB; look through it before you send it"
    notes_console().print(text, soft_wrap=True, highlight=False)


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
