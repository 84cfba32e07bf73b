"""`segue policy set` and `segue policy show`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from services.cli.commands.stream_commands import StreamName, check_name
from services.cli.render.fleet_view import StreamView
from services.cli.support.command_runner import run_command
from services.cli.support.config_files import read_json
from services.cli.support.errors import InfeasibleProblem
from services.cli.support.operations import look, operator
from services.cli.support.operations import set_policy as publish_policy
from services.cli.support.options import DEFAULT_BROKER, Broker, Json, Timeout, notes, output, print_json, settings
from services.cli.support.strategy_names import strategy_fault
from shared.bus import topics
from shared.messages.streams import StreamStatus
from shared.policy import Objective, Policy, policy_document, read_policy
from shared.service_runtime import InputError

_REVISION = "revision"


def set_policy(
    stream: StreamName,
    file: Annotated[
        Path | None, typer.Argument(metavar="[POLICY.json]", help="The policy as JSON; - for standard input.")
    ] = None,
    objective: Annotated[Objective | None, typer.Option(help="What is optimised.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Algorithm; `segue plan --list-strategies`.")] = None,
    deadline_ms: Annotated[float | None, typer.Option(help="Largest latency of a request.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Only these devices may compute; repeat it.")] = None,
    deny: Annotated[list[str] | None, typer.Option(help="These devices may not compute; repeat it.")] = None,
    raw_input_stays: Annotated[
        bool | None,
        typer.Option("--raw-input-stays/--raw-input-may-leave", help="Photographs do not leave the source."),
    ] = None,
    max_devices: Annotated[int | None, typer.Option(help="At most so many devices compute.")] = None,
    codec: Annotated[str | None, typer.Option(help="Encoding of feature maps: a name, lossless or auto.")] = None,
    min_top1_agreement: Annotated[
        float | None, typer.Option(help="With auto: share of best classes that an encoding keeps.")
    ] = None,
    max_relative_error: Annotated[
        float | None, typer.Option(help="With auto: largest relative error of the output.")
    ] = None,
    max_in_flight: Annotated[int | None, typer.Option(help="At most so many requests under way.")] = None,
    timeout_s: Timeout = 15.0,
    broker: Broker = DEFAULT_BROKER,
    as_json: Json = False,
) -> None:
    """Publish a stream's policy and wait for the planner's verdict.

    The policy is the file, with the options on top; without a file, the options on top of the defaults. A policy that
    cannot be met is refused with every reason (exit status 3), and the one before stays in force.
    """
    check_name(stream)
    document = {} if file is None else _read(file)
    rule = document.get("devices", {})
    if not isinstance(rule, dict):
        raise InputError("devices: a map with allow and deny")
    devices = {**rule, **_given({"allow": allow, "deny": deny})}
    options = _given(
        {
            "objective": None if objective is None else objective.value,
            "strategy": strategy,
            "deadline_ms": deadline_ms,
            "devices": devices or None,
            "raw_input_stays_on_source": raw_input_stays,
            "max_devices": max_devices,
            "codec": codec,
            "min_top1_agreement": min_top1_agreement,
            "max_relative_error": max_relative_error,
            "max_in_flight": max_in_flight,
        }
    )
    wanted = {**document, **options}
    _check(wanted)
    address = settings(broker)

    async def publish() -> tuple[StreamStatus, bool]:
        async with operator(address) as connection:
            status = await publish_policy(connection, stream, wanted, timeout_s=timeout_s)
            seen = (await look(connection, (topics.stream(stream),))).streams.get(stream)
            return status, seen is not None and seen.declaration is not None

    status, declared = run_command(publish)
    if as_json:
        print_json({"accepted": status.policy_accepted, "reasons": list(status.policy_reasons)})
        raise typer.Exit(0 if status.policy_accepted else 3)
    if not status.policy_accepted:
        raise InfeasibleProblem("\n".join(status.policy_reasons) or "the planner refuses the policy")
    for reason in status.policy_reasons:
        notes().print(f"note: {reason}", soft_wrap=True)
    output().print("accepted" if declared else f"accepted, but there is no stream {stream} yet: segue stream add")


def show(stream: StreamName, broker: Broker = DEFAULT_BROKER, as_json: Json = False) -> None:
    """Show a stream's policy, and what the planner says of it."""
    check_name(stream)
    address = settings(broker)

    async def gather() -> StreamView | None:
        filters = (topics.stream(stream), topics.policy(stream), topics.status(stream))
        async with operator(address) as connection:
            return (await look(connection, filters)).streams.get(stream)

    seen = run_command(gather)
    if seen is None:
        raise InputError(f"nothing is known of a stream {stream}; `segue stream list` shows those there are")
    policy = _decode(seen.policy)
    if as_json:
        print_json({"policy": policy, "status": None if seen.status is None else seen.status.model_dump(mode="json")})
        return
    output().print(json.dumps(policy, indent=2))
    if seen.status is not None:
        for reason in seen.status.policy_reasons:
            output().print(f"{'note' if seen.status.policy_accepted else 'refused'}: {reason}", soft_wrap=True)


def _decode(payload: bytes | None) -> dict[str, Any]:
    """Return the policy on the bus, or the default one; the planner publishes JSON."""
    if payload is None:
        return policy_document(Policy())
    import msgpack

    document = json.loads(payload) if payload.lstrip()[:1] == b"{" else msgpack.unpackb(payload)
    return {key: value for key, value in document.items() if key != _REVISION}


def _read(file: Path) -> dict[str, Any]:
    document = read_json(file)
    if not isinstance(document, dict):
        raise InputError(f"{file}: a policy is a map")
    return document


def _check(document: dict[str, Any]) -> None:
    """Refuse what is no policy before anything is published, with every fault.

    Raises:
        InputError: one line per fault.
    """
    try:
        policy = read_policy(json.dumps(document))
    except ValidationError as error:
        raise InputError("\n".join(map(_fault, error.errors()))) from error
    fault = strategy_fault(policy)
    if fault is not None:
        raise InputError(f"strategy: {fault}")


def _fault(fault: ErrorDetails) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "string_pattern_mismatch":
        return f"{place}: {fault['input']!r} cannot be a name: small letters, digits, '_', '+', '-'"
    unknown = fault["type"] in ("unexpected_keyword_argument", "extra_forbidden")
    return f"{place or 'policy'}: {'unknown key' if unknown else fault['msg']}"


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
