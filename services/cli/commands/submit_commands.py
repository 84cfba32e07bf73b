"""`segue submit`: send files to a stream and print the results."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from services.cli.render.console import notes_console, print_json, results_console
from services.cli.render.fleet_view import latency_ms
from services.cli.support.broker_access import SENDERS
from services.cli.support.command_runner import run_command
from services.cli.support.fleet_operations import CONNECT_TIMEOUT_S, declaration_of, operator
from services.cli.support.options import (
    Broker,
    Insecure,
    Json,
    Timeout,
    broker_settings,
    check_stream_name,
    no_such_stream,
)
from services.cli.support.output_files import make_folder
from services.cli.support.request_files import read_payloads
from shared.bus.errors import MessageTooLarge
from shared.bus.settings import BusSettings
from shared.client import Client, ClientTimeout
from shared.exit_status import ExitStatus, InputError
from shared.messages.requests import Outcome, OutcomeStatus, StageTrace
from shared.messages.streams import StreamDeclaration
from shared.side_by_side import side_by_side

_MAX_IN_FLIGHT: Final = 256

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="Pictures, .npy, raw tensors; .npz for several inputs; folders.")
]
StreamOption = Annotated[str, typer.Option("--stream", "-s", help="The stream's name.", show_default=False)]
InFlight = Annotated[int, typer.Option("--in-flight", min=1, max=_MAX_IN_FLIGHT, help="Requests under way at most.")]
Burst = Annotated[
    bool | None,
    typer.Option(
        "--burst/--no-burst", help="Send all files as one burst. Default: if the stream is declared with --jobs."
    ),
]
OutputFolder = Annotated[
    Path | None, typer.Option("--outputs", metavar="DIR", help="Write the output tensors as .npy files.")
]


# What a file ends with.
_Ending = Outcome | ClientTimeout | MessageTooLarge


@dataclass(frozen=True, slots=True)
class _Submission:
    """The payloads of a stream and the way they are sent.

    Attributes:
        files: the files.
        payloads: one per file.
        in_flight: most requests under way, unless the files are a burst.
        burst: whether all files go as one burst; None if the stream's declaration decides.
        output_folder: where the output tensors are written; None not to ask for them.
        timeout_s: time to wait for each outcome.
    """

    stream: str
    files: Sequence[Path]
    payloads: Sequence[bytes]
    in_flight: int
    burst: bool | None
    output_folder: Path | None
    timeout_s: float


def submit_command(
    files: Files,
    stream: StreamOption,
    timeout_s: Timeout = 60.0,
    in_flight: InFlight = 4,
    burst: Burst = None,
    output_folder: OutputFolder = None,
    broker: Broker = None,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Send files to a stream and print results: labels, latency, and where the time went.

    A burst goes to the source as a whole. The source starts its requests in the order of the plan.

    A folder stands for the pictures and tensors in it. A file that cannot be read is reported, and the others are sent.

    Exit status 1 if a request ends with an error or a file cannot be read, 4 if one has no outcome in time.
    """
    check_stream_name(stream)
    address = broker_settings(broker, insecure, SENDERS)
    make_folder("--outputs", output_folder)
    readable, faults = read_payloads(files, address.max_payload_bytes)
    sent = [file for file, _ in readable]
    payloads = [payload for _, payload in readable]
    submission = _Submission(stream, sent, payloads, in_flight, burst, output_folder, timeout_s)
    is_burst, outcomes = run_command(lambda: _send(address, submission))
    if as_json:
        unsent = [{"file": str(file), "status": "unreadable", "error": fault} for file, fault in faults]
        print_json([*(_document(file, outcome) for file, outcome in zip(sent, outcomes, strict=True)), *unsent])
    else:
        _show(sent, outcomes, is_burst=is_burst)
        for _, fault in faults:
            notes_console().print(f"not sent: {fault}", soft_wrap=True)
    if any(isinstance(outcome, ClientTimeout) for outcome in outcomes):
        raise typer.Exit(ExitStatus.OUT_OF_REACH)
    if faults or any(_failed(outcome) for outcome in outcomes):
        raise typer.Exit(ExitStatus.FAILED)


def _failed(outcome: _Ending) -> bool:
    return isinstance(outcome, MessageTooLarge) or (
        isinstance(outcome, Outcome) and outcome.status is OutcomeStatus.ERROR
    )


async def _send(address: BusSettings, submission: _Submission) -> tuple[bool, list[_Ending]]:
    """Return whether the files were sent as a burst, and their outcomes in the order of the files."""
    declaration = await _declaration(address, submission.stream)
    is_burst = declaration.jobs > 1 if submission.burst is None else submission.burst
    in_flight = submission.in_flight
    if is_burst:
        in_flight = min(_MAX_IN_FLIGHT, max(in_flight, len(submission.payloads)))
    async with Client.open(address, in_flight=in_flight, connect_timeout_s=CONNECT_TIMEOUT_S) as client:
        return is_burst, await _submit_all(client, submission, in_flight)


async def _submit_all(client: Client, submission: _Submission, in_flight: int) -> list[_Ending]:
    """Return one outcome per file. Outputs are written as they come, so that few of them are in memory at a time."""
    folder = submission.output_folder

    async def submit(index: int) -> _Ending:
        try:
            outcome = await client.submit(
                submission.stream,
                submission.payloads[index],
                timeout_s=submission.timeout_s,
                whole_outputs=folder is not None,
            )
        except (ClientTimeout, MessageTooLarge) as error:
            return error
        if folder is not None and outcome.outputs:
            prefix = f"{index:04d}_{submission.files[index].stem}"
            outcome = await asyncio.to_thread(_write_outputs, folder, prefix, outcome)
        return outcome

    return await side_by_side(range(len(submission.files)), submit, workers=in_flight)


async def _declaration(address: BusSettings, stream: str) -> StreamDeclaration:
    async with operator(address) as connection:
        declaration = await declaration_of(connection, stream)
    if declaration is None or not declaration.model:
        raise no_such_stream(stream)
    return declaration


def _show(files: Sequence[Path], outcomes: Sequence[_Ending], *, is_burst: bool) -> None:
    for file, outcome in zip(files, outcomes, strict=True):
        if isinstance(outcome, ClientTimeout):
            notes_console().print(f"{file}: {outcome}; run `segue doctor` to see what is missing", soft_wrap=True)
        elif isinstance(outcome, MessageTooLarge):
            notes_console().print(f"{file}: not sent: {outcome.reason}", soft_wrap=True)
        elif outcome.status is OutcomeStatus.ERROR:
            cause = "" if outcome.cause is None else f"{outcome.cause.value}: "
            notes_console().print(f"{file}: error: {cause}{outcome.error}", soft_wrap=True)
        else:
            _show_result(file, outcome)
    if is_burst:
        results_console().print(burst_text(outcomes), soft_wrap=True)


def _show_result(file: Path, outcome: Outcome) -> None:
    labels = ", ".join(f"{score.label} {score.score:.2f}" for score in outcome.top[:3])
    shapes = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in outcome.outputs)
    answer = labels or shapes or outcome.error or "a result"
    results_console().print(f"{file}: {answer}  ({latency_ms(outcome):.1f} ms)", soft_wrap=True)
    if outcome.error and outcome.error != answer:
        notes_console().print(f"{file}: note: {outcome.error}", soft_wrap=True)
    for line in time_lines(outcome):
        results_console().print(f"    {line}", soft_wrap=True, style="dim")


def burst_text(outcomes: Sequence[_Ending]) -> str:
    """Return the duration of a burst, from the first acceptance to the last outcome, and the missing outcomes."""
    arrived = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
    missing = len(outcomes) - len(arrived)
    if not arrived:
        return f"burst of {len(outcomes)}: no request has an outcome, so its duration is unknown"
    began_s = min(outcome.accepted_at_s for outcome in arrived)
    took_ms = 1000 * (max(outcome.completed_at_s for outcome in arrived) - began_s)
    if not missing:
        return f"burst of {len(outcomes)}: {took_ms:.1f} ms from the first to the last"
    without = "1 request has" if missing == 1 else f"{missing} requests have"
    return (
        f"burst of {len(outcomes)}: {took_ms:.1f} ms from the first to the last of the {len(arrived)} that have an "
        f"outcome; {without} none"
    )


def time_lines(outcome: Outcome) -> list[str]:
    """Return a line per stage or tile: the transfer to it, its queue and its computing time."""
    lines = [f"{1000 * (outcome.dispatched_at_s - outcome.accepted_at_s):8.1f} ms waiting at the source"]
    before_s, way, in_parts = outcome.dispatched_at_s, "", False
    for stage in outcome.trace:
        # The input of a tile, and of a stage behind tiles, comes in parts and from several devices.
        in_parts, was_tiled = stage.rows is not None, in_parts
        if in_parts or was_tiled:
            lines.append(_parts_line(stage, outcome.dispatched_at_s))
            before_s, way = stage.sent_at_s or _end_s(stage), ""
            continue
        travelled_ms = 1000 * (stage.received_at_s - before_s)
        lines.append(
            f"{travelled_ms:8.1f} ms to {stage.device}{way}, {stage.queue_ms:.1f} ms queue, "
            f"{stage.compute_ms:.1f} ms for blocks [{stage.start},{stage.stop})"
        )
        way = "" if stage.transport is None else f" ({stage.transport})"
        before_s = stage.sent_at_s or _end_s(stage)
    return lines


def _parts_line(stage: StageTrace, dispatched_at_s: float) -> str:
    """Return the line of an input in parts: its first rows, counted from the dispatch, and what follows from there."""
    rows = "" if stage.rows is None else f"rows [{stage.rows[0]},{stage.rows[1]}) of "
    return (
        f"{1000 * (stage.received_at_s - dispatched_at_s):8.1f} ms until first rows at {stage.device}, "
        f"{stage.wait_ms:.1f} ms until the last, {stage.queue_ms:.1f} ms queue, {stage.compute_ms:.1f} ms for {rows}"
        f"blocks [{stage.start},{stage.stop})"
    )


def _end_s(stage: StageTrace) -> float:
    return stage.received_at_s + (stage.wait_ms + stage.queue_ms + stage.compute_ms) / 1000


def _document(file: Path, outcome: _Ending) -> dict[str, Any]:
    if isinstance(outcome, ClientTimeout):
        return {"file": str(file), "request_id": outcome.request_id, "status": "timeout", "error": str(outcome)}
    if isinstance(outcome, MessageTooLarge):
        return {"file": str(file), "status": "too_large", "error": outcome.reason}
    document = outcome.model_dump(mode="json", exclude={"outputs", "schema_version"})
    shapes = [{"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)} for tensor in outcome.outputs]
    return {"file": str(file), "latency_ms": round(latency_ms(outcome), 3), **document, "outputs": shapes}


def _write_outputs(folder: Path, prefix: str, outcome: Outcome) -> Outcome:
    """Write the output tensors of an outcome; return it with their names, types and shapes only.

    Raises:
        InputError: a file cannot be written.
    """
    for tensor in outcome.outputs:
        path = folder / f"{prefix}_{tensor.name.replace('/', '_')}.npy"
        try:
            np.save(path, np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype)).reshape(tensor.shape))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
        except (TypeError, ValueError) as error:
            raise InputError(f"output {tensor.name!r} of type {tensor.dtype} cannot be written: {error}") from None
    emptied = tuple(tensor.model_copy(update={"data": b""}) for tensor in outcome.outputs)
    return outcome.model_copy(update={"outputs": emptied})
