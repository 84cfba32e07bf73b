"""`segue submit`: send files to a stream and print what comes back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.render.fleet_view import latency_ms
from services.cli.support.command_runner import run_command
from services.cli.support.operations import CONNECT_TIMEOUT_S, declaration_of, operator
from services.cli.support.options import DEFAULT_BROKER, Broker, Json, Timeout, notes, output, print_json, settings
from services.cli.support.output_files import make_folder
from services.cli.support.request_files import read_payload
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.client import Client, ClientTimeout
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import StreamDeclaration
from shared.service_runtime import ExitStatus, InputError

_MOST_IN_FLIGHT = 256


def submit(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="JPEG, PNG, .npy, raw tensors; .npz for several inputs.")
    ],
    stream: Annotated[str, typer.Option("--stream", "-s", help="The stream's name.", show_default=False)],
    timeout_s: Timeout = 60.0,
    in_flight: Annotated[int, typer.Option(min=1, max=_MOST_IN_FLIGHT, help="Requests under way at most.")] = 4,
    burst: Annotated[
        bool | None,
        typer.Option("--burst/--no-burst", help="All files at once. Default: if the stream is declared with --jobs."),
    ] = None,
    whole_outputs: Annotated[
        Path | None, typer.Option("--outputs", metavar="DIR", help="Write the output tensors as .npy files.")
    ] = None,
    broker: Broker = DEFAULT_BROKER,
    as_json: Json = False,
) -> None:
    """Send files to a stream and print results: labels, latency, and where the time went.

    A burst goes to the source as a whole, which starts it in the order of the plan.

    Exit status 1 if a request ends with an error, 4 if one has no outcome in time.
    """
    if not topics.is_name(stream):
        raise InputError(f"{stream!r} is no stream name")
    address = settings(broker)
    make_folder("--outputs", whole_outputs)
    payloads = [sendable(file, address.max_payload_bytes) for file in files]
    whole = whole_outputs is not None

    async def send() -> tuple[bool, list[Outcome | ClientTimeout]]:
        declared = await _declaration(address, stream)
        at_once = declared.jobs > 1 if burst is None else burst
        limit = min(_MOST_IN_FLIGHT, max(in_flight, len(payloads))) if at_once else in_flight
        return at_once, await _submit(address, stream, payloads, timeout_s, limit, whole)

    at_once, outcomes = run_command(send)
    if whole_outputs is not None:
        _write_outputs(whole_outputs, files, outcomes)
    if as_json:
        print_json([_document(file, outcome) for file, outcome in zip(files, outcomes, strict=True)])
    else:
        for file, outcome in zip(files, outcomes, strict=True):
            _show(file, outcome)
        if at_once:
            output().print(burst_text(outcomes), soft_wrap=True)
    if any(isinstance(outcome, ClientTimeout) for outcome in outcomes):
        raise typer.Exit(ExitStatus.OUT_OF_REACH)
    if any(isinstance(outcome, Outcome) and outcome.status is OutcomeStatus.ERROR for outcome in outcomes):
        raise typer.Exit(ExitStatus.FAILED)


async def _submit(
    address: BusSettings, stream: str, payloads: Sequence[bytes], timeout_s: float, in_flight: int, whole: bool
) -> list[Outcome | ClientTimeout]:
    async with Client.open(address, in_flight=in_flight, connect_timeout_s=CONNECT_TIMEOUT_S) as client:
        return await client.submit_many(stream, payloads, timeout_s=timeout_s, whole_outputs=whole)


async def _declaration(address: BusSettings, stream: str) -> StreamDeclaration:
    async with operator(address) as connection:
        declaration = await declaration_of(connection, stream)
    if declaration is None or not declaration.model:
        raise InputError(f"there is no stream {stream}; `segue stream list` shows those there are")
    return declaration


def burst_text(outcomes: Sequence[Outcome | ClientTimeout]) -> str:
    """Say how long a burst took, from the first acceptance to the last outcome, and how many have no outcome."""
    arrived = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
    missing = len(outcomes) - len(arrived)
    if not arrived:
        return f"burst of {len(outcomes)}: no request has an outcome, so there is no time to tell"
    began_s = min(outcome.accepted_at_s for outcome in arrived)
    took_ms = 1000 * (max(outcome.completed_at_s for outcome in arrived) - began_s)
    if not missing:
        return f"burst of {len(outcomes)}: {took_ms:.1f} ms from the first to the last"
    without = "1 request has" if missing == 1 else f"{missing} requests have"
    return (
        f"burst of {len(outcomes)}: {took_ms:.1f} ms from the first to the last of the {len(arrived)} that have an "
        f"outcome; {without} none"
    )


def sendable(file: Path, most_bytes: int) -> bytes:
    """Return a file as a request carries it.

    Raises:
        InputError: it cannot be read, or is larger than `most_bytes`.
    """
    payload = read_payload(file)
    if len(payload) > most_bytes:
        raise InputError(f"{file} has {len(payload)} bytes; a request has at most {most_bytes}")
    return payload


def _show(file: Path, outcome: Outcome | ClientTimeout) -> None:
    if isinstance(outcome, ClientTimeout):
        notes().print(f"{file}: {outcome}; `segue doctor` tells what is missing", soft_wrap=True, markup=False)
        return
    if outcome.status is OutcomeStatus.ERROR:
        cause = "" if outcome.cause is None else f"{outcome.cause.value}: "
        notes().print(f"{file}: error: {cause}{outcome.error}", soft_wrap=True, markup=False)
        return
    best = ", ".join(f"{each.label} {each.score:.2f}" for each in outcome.top[:3])
    shapes = ", ".join(f"{each.name} {list(each.shape)}" for each in outcome.outputs)
    answer = best or shapes or outcome.error or "a result"
    output().print(f"{file}: {answer}  ({latency_ms(outcome):.1f} ms)", soft_wrap=True, markup=False)
    for line in _where_time_went(outcome):
        output().print(f"    {line}", soft_wrap=True, markup=False, style="dim")


def _where_time_went(outcome: Outcome) -> list[str]:
    """Say for every stage how long its device waited, computed, and what it sent."""
    lines = [f"{1000 * (outcome.dispatched_at_s - outcome.accepted_at_s):8.1f} ms waiting at the source"]
    before_s = outcome.dispatched_at_s
    for stage in outcome.trace:
        travelled_ms = 1000 * (stage.received_at_s - before_s)
        lines.append(
            f"{travelled_ms:8.1f} ms to {stage.device}, {stage.queue_ms:.1f} ms queue, {stage.compute_ms:.1f} ms for "
            f"blocks [{stage.start},{stage.stop})"
        )
        before_s = stage.sent_at_s or stage.received_at_s + (stage.queue_ms + stage.compute_ms) / 1000
    return lines


def _document(file: Path, outcome: Outcome | ClientTimeout) -> dict[str, Any]:
    if isinstance(outcome, ClientTimeout):
        return {"file": str(file), "request_id": outcome.request_id, "status": "timeout", "error": str(outcome)}
    document = outcome.model_dump(mode="json", exclude={"outputs", "schema_version"})
    shapes = [{"name": each.name, "dtype": each.dtype, "shape": list(each.shape)} for each in outcome.outputs]
    return {"file": str(file), "latency_ms": round(latency_ms(outcome), 3), **document, "outputs": shapes}


def _write_outputs(folder: Path, files: Sequence[Path], outcomes: Sequence[Outcome | ClientTimeout]) -> None:
    import numpy as np

    for index, (file, outcome) in enumerate(zip(files, outcomes, strict=True)):
        for tensor in outcome.outputs if isinstance(outcome, Outcome) else ():
            array = np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype)).reshape(tensor.shape)
            np.save(folder / f"{index:04d}_{file.stem}_{tensor.name.replace('/', '_')}.npy", array)
