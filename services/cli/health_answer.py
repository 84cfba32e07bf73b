"""Answer of `segue health`: one line per service on this machine, and the exit status for a probe.

A probe has a tenth of a second, and the command line takes longer to load. Only light modules are imported here.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.exit_status import ExitStatus
from shared.health.health_query import ROLES, ask
from shared.health.service_health import HealthReport

BROKER = "broker"


def answer(
    role: str | None,
    *,
    name: str | None = None,
    is_alive_enough: bool = False,
    port: int | None = None,
    fleet: Path | None = None,
    as_json: bool = False,
) -> ExitStatus:
    """Print the reports, and return `DONE` if there is one and all are good, else `FAILED`.

    Args:
        role: of the services that are asked; None for all.
        name: only the service, or the device, of this name.
        is_alive_enough: whether a service that answers is good, even without a connection to the broker.
        port: of a broker without TLS.
        fleet: folder of the broker's fleet.
        as_json: print one JSON document instead of lines.
    """
    reports = [_broker(port, fleet)] if role == BROKER else ask(role)
    # A process that hangs cannot say its name.
    reports = [each for each in reports if name is None or each.name in ("", name)]
    if not reports:
        what = "service of Segue" if role is None else role
        reports = [HealthReport(role or "", name or "", False, f"no {what} of this user runs here", is_alive=False)]
    text = json.dumps([each.to_fields() for each in reports]) if as_json else "\n".join(map(_line, reports))
    sys.stdout.write(text + "\n")
    is_good = all(each.is_ready or (is_alive_enough and each.is_alive) for each in reports)
    return ExitStatus.DONE if is_good else ExitStatus.FAILED


def answer_quickly(arguments: Sequence[str]) -> ExitStatus | None:
    """Answer `segue health ROLE` as a probe calls it; return None for any other arguments.

    Args:
        arguments: those of `segue`.
    """
    if arguments[:1] != ["health"] or not set(arguments[2:]) <= {"--live"}:
        return None
    role = arguments[1] if len(arguments) > 1 else None
    if role is not None and role not in (*ROLES, BROKER):
        return None
    fleet = os.environ.get("SEGUE_FLEET")
    return answer(role, is_alive_enough="--live" in arguments, fleet=Path(fleet) if fleet else None)


def main() -> None:
    """Run `segue`: probes at once, everything else by the command line."""
    status = answer_quickly(sys.argv[1:])
    if status is not None:
        sys.exit(status)
    from services.cli.main import main as command_line

    command_line()


def _line(report: HealthReport) -> str:
    subject = " ".join(filter(None, (report.role, report.name)))
    return f"{subject}: {report.reason or 'ready'}"


def _broker(port: int | None, fleet: Path | None) -> HealthReport:
    # Not above: TLS takes a tenth of the time of a probe, and the other roles need none.
    from shared.health.broker_ping import BrokerPlace, ping_broker

    try:
        place = BrokerPlace.of_fleet(fleet) if fleet is not None else BrokerPlace(port or 1883)
    except (OSError, ValueError) as error:
        return HealthReport(BROKER, "", False, f"there is no fleet in {fleet}: {error}", is_alive=False)
    return ping_broker(place)
