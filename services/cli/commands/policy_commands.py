"""`segue policy set` and `segue policy show`."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from services.cli.render.console import notes_console, print_json, results_console
from services.cli.render.fleet_view import StreamView
from services.cli.support.command_runner import run_command
from services.cli.support.config_files import read_json
from services.cli.support.errors import InfeasibleProblem
from services.cli.support.fleet_operations import look, operator, set_policy
from services.cli.support.options import Broker, Insecure, Json, StreamName, Timeout, broker_settings, check_name
from services.cli.support.policy_checks import check_policy
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.exit_status import ExitStatus, InputError
from shared.messages.streams import StreamStatus
from shared.policy import Objective, Policy, policy_document
from shared.transport_mode import TransportMode

# Key of the revision in a published policy; `set_policy` adds it and the planner's answer repeats it.
_REVISION: Final = "revision"

PolicyFile = Annotated[
    Path | None, typer.Argument(metavar="[POLICY.json]", help="The policy as JSON; - for standard input.")
]
ObjectiveOption = Annotated[Objective | None, typer.Option("--objective", help="Objective to optimise.")]
StrategyOption = Annotated[
    str | None, typer.Option("--strategy", help="Algorithm; `segue plan --list-strategies` lists them.")
]
RouteOption = Annotated[
    str | None,
    typer.Option("--route", help="With strategy pinned: the route, such as 'pi[0,4) > server[4,9)'."),
]
Deadline = Annotated[float | None, typer.Option("--deadline-ms", help="Largest latency of a request.")]
Allow = Annotated[list[str] | None, typer.Option("--allow", help="Only these devices may compute; repeat it.")]
Deny = Annotated[list[str] | None, typer.Option("--deny", help="These devices may not compute; repeat it.")]
RawInputStays = Annotated[
    bool | None,
    typer.Option("--raw-input-stays/--raw-input-may-leave", help="Photographs do not leave the source."),
]
MaxDevices = Annotated[int | None, typer.Option("--max-devices", help="Largest number of devices that compute.")]
Codec = Annotated[str | None, typer.Option("--codec", help="Encoding of feature maps: a name, lossless or auto.")]
MinTop1 = Annotated[
    float | None,
    typer.Option("--min-top1-agreement", help="With auto: share of best classes that an encoding keeps."),
]
MaxError = Annotated[
    float | None, typer.Option("--max-relative-error", help="With auto: largest relative error of the output.")
]
TransportOption = Annotated[
    TransportMode | None,
    typer.Option("--transport", help="Way of feature maps: mqtt, direct or auto; that of each device if not given."),
]
MaxInFlight = Annotated[int | None, typer.Option("--max-in-flight", help="Largest number of requests under way.")]


def set_policy_command(
    stream: StreamName,
    file: PolicyFile = None,
    objective: ObjectiveOption = None,
    strategy: StrategyOption = None,
    route: RouteOption = None,
    deadline_ms: Deadline = None,
    allow: Allow = None,
    deny: Deny = None,
    raw_input_stays: RawInputStays = None,
    max_devices: MaxDevices = None,
    codec: Codec = None,
    min_top1_agreement: MinTop1 = None,
    max_relative_error: MaxError = None,
    max_in_flight: MaxInFlight = None,
    transport: TransportOption = None,
    timeout_s: Timeout = 15.0,
    broker: Broker = None,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Publish a stream's policy and wait for the planner's answer.

    The policy is the file, or the default policy without one. Options override single keys of it.
    The planner refuses a policy that cannot be met and gives every reason (exit status 3).
    The previous policy then stays in force.
    """
    check_name(stream)
    options = _given(
        {
            "objective": None if objective is None else objective.value,
            "strategy": strategy,
            "route": route,
            "deadline_ms": deadline_ms,
            "raw_input_stays_on_source": raw_input_stays,
            "max_devices": max_devices,
            "codec": codec,
            "min_top1_agreement": min_top1_agreement,
            "max_relative_error": max_relative_error,
            "max_in_flight": max_in_flight,
            "transport": None if transport is None else transport.value,
        }
    )
    document = _merged({} if file is None else _read(file), options, _given({"allow": allow, "deny": deny}))
    check_policy(document)
    address = broker_settings(broker, insecure)
    status, declared = run_command(lambda: _publish(address, stream, document, timeout_s))
    _report(stream, status, declared=declared, as_json=as_json)


def _merged(document: dict[str, Any], options: dict[str, Any], devices: dict[str, Any]) -> dict[str, Any]:
    """Return a policy document with options on top, the lists of its rule for devices included."""
    rule = document.get("devices", {})
    if not isinstance(rule, dict):
        raise InputError("devices: a map with allow and deny")
    merged_rule = {**rule, **devices}
    return {**document, **options, **({"devices": merged_rule} if merged_rule else {})}


async def _publish(
    address: BusSettings, stream: str, document: dict[str, Any], timeout_s: float
) -> tuple[StreamStatus, bool]:
    """Return the planner's answer to a policy, and whether its stream is declared."""
    async with operator(address) as connection:
        status = await set_policy(connection, stream, document, timeout_s=timeout_s)
        seen = (await look(connection, (topics.stream(stream),))).streams.get(stream)
        return status, seen is not None and seen.declaration is not None


def _report(stream: str, status: StreamStatus, *, declared: bool, as_json: bool) -> None:
    if as_json:
        print_json({"accepted": status.policy_accepted, "reasons": list(status.policy_reasons)})
        raise typer.Exit(ExitStatus.DONE if status.policy_accepted else ExitStatus.INFEASIBLE)
    if not status.policy_accepted:
        raise InfeasibleProblem("\n".join(status.policy_reasons) or "the planner refuses the policy")
    for reason in status.policy_reasons:
        notes_console().print(f"note: {reason}", soft_wrap=True)
    results_console().print(
        "accepted" if declared else f"accepted, but there is no stream {stream} yet: segue stream add"
    )


def show_policy_command(
    stream: StreamName, broker: Broker = None, insecure: Insecure = False, as_json: Json = False
) -> None:
    """Show a stream's policy and the planner's answer to it."""
    check_name(stream)
    address = broker_settings(broker, insecure)

    async def gather() -> StreamView | None:
        filters = (topics.stream(stream), topics.policy(stream), topics.status(stream))
        async with operator(address) as connection:
            return (await look(connection, filters)).streams.get(stream)

    seen = run_command(gather)
    if seen is None:
        raise InputError(f"there is neither a stream nor a policy {stream}; `segue stream list` lists the streams")
    policy = published_policy(seen.policy)
    if as_json:
        print_json({"policy": policy, "status": None if seen.status is None else seen.status.model_dump(mode="json")})
        return
    results_console().print(json.dumps(policy, indent=2))
    if seen.status is not None:
        for reason in seen.status.policy_reasons:
            answer = "note" if seen.status.policy_accepted else "refused"
            results_console().print(f"{answer}: {reason}", soft_wrap=True)


def published_policy(payload: bytes | None) -> dict[str, Any]:
    """Return the policy in a payload of the bus, JSON or msgpack, without its revision; the default one for None."""
    if payload is None:
        return policy_document(Policy())
    import msgpack

    # Programs may publish msgpack; the planner and `segue policy set` publish JSON, which starts with a brace.
    document = json.loads(payload) if payload.lstrip()[:1] == b"{" else msgpack.unpackb(payload)
    return {key: value for key, value in document.items() if key != _REVISION}


def _read(file: Path) -> dict[str, Any]:
    document = read_json(file)
    if not isinstance(document, dict):
        raise InputError(f"{file}: a policy is a map")
    return document


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
