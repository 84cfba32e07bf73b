"""`segue demo` and `segue up`."""

import asyncio
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.cli.calibration import kept_calibrations
from services.cli.render.fleet_view import FleetView
from services.cli.render.summary_tables import print_summary
from services.cli.support.command_runner import on_signals, quiet_logging
from services.cli.support.interrupts import INTERRUPTED
from services.cli.support.options import Json, notes, output, print_json
from services.cli.support.output_files import make_folder
from services.cli.testbed.fleet_file import Fleet, read_fleet
from services.cli.testbed.fleet_run import FleetRun, RunSettings
from services.cli.testbed.reporting import reporting
from services.cli.testbed.run_record import RunRecord
from services.cli.testbed.run_summary import Summary, summarise, to_document
from shared.service_runtime import ExitStatus, InputError

RunDir = Annotated[
    Path | None,
    typer.Option(help="Where logs, models and databases go, to be kept; else a folder that goes after a good run."),
]
PhaseSeconds = Annotated[
    float | None, typer.Option("--phase-s", min=1.0, help="Let every phase last so long, in seconds.")
]


def demo(as_json: Json = False, phase_s: PhaseSeconds = None, run_dir: RunDir = None) -> None:
    """See the whole system at work on this machine, in under two minutes.

    An MQTT broker, three emulated devices (a monitor process and an executor process each; how slow they and their
    links are is emulated), planner and collector; SqueezeNet on photographs. On the way a link loses most of its
    bandwidth, a device gets loaded, and one is killed with SIGKILL and comes back. The summary says what was rerouted
    and why, what it was good for, and that every request has exactly one outcome, equal to the whole model's.

    Exit status 1 if a request was lost, a result differs, or a disturbance changed no route.
    """
    with resources.as_file(resources.files("services.cli.data")) as folder:
        fleet = read_fleet(folder / "demo.toml")
        _run(fleet if phase_s is None else fleet.with_phase_s(phase_s), folder, run_dir, as_json)


def up(
    description: Annotated[Path, typer.Argument(metavar="FLEET.toml", help="The fleet.", show_default=False)],
    duration_s: Annotated[
        float | None, typer.Option(min=1.0, help="Stop after so long (a fleet without phases); else Ctrl-C stops it.")
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Stop after so many requests.")] = None,
    phase_s: PhaseSeconds = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Measure encodings of feature maps first, so that they may be chosen; else as FLEET.toml says.",
            show_default=False,
        ),
    ] = None,
    run_dir: RunDir = None,
    as_json: Json = False,
) -> None:
    """Run your own fleet, model and images on this machine, and see what Segue makes of it.

    FLEET.toml names the model, the images, the devices with their slowdown, the links, the policy, and phases if
    things shall change on the way; examples/fleet.toml explains every key. On several machines the services are
    started one by one instead: `segue broker`, `planner`, `collector`, `executor`, `monitor`.
    """
    fleet = read_fleet(description)
    if fleet.phases and duration_s is not None:
        raise InputError(f"--duration-s: {description} has phases, which end by themselves; --phase-s shortens them")
    if not fleet.phases and phase_s is not None:
        raise InputError(f"--phase-s: {description} has no phases; --duration-s says when to stop")
    if phase_s is not None:
        fleet = fleet.with_phase_s(phase_s)
    if calibrate is not None:
        fleet = fleet.with_calibration(calibrate)
    _run(fleet, description.parent, run_dir, as_json, duration_s=duration_s, requests=requests)


def _run(
    fleet: Fleet,
    folder: Path,
    run_dir: Path | None,
    as_json: bool,
    *,
    duration_s: float | None = None,
    requests: int | None = None,
) -> None:
    make_folder("--run-dir", run_dir)
    kept = run_dir if run_dir is not None else Path(tempfile.mkdtemp(prefix="segue-"))
    settings = RunSettings(folder, kept, kept_calibrations(), duration_s=duration_s, requests=requests)
    quiet_logging()
    try:
        record, interrupted = asyncio.run(_record(fleet, settings, notes()))
    except Exception:
        _keep(kept, temporary=run_dir is None)
        raise
    if record is None:
        _forget(kept, temporary=run_dir is None)
        raise typer.Exit(INTERRUPTED)
    summary = summarise(record)
    if as_json:
        print_json(to_document(summary))
    else:
        print_summary(output(), summary)
    _finish(summary, kept, temporary=run_dir is None, interrupted=interrupted and bool(fleet.phases))


async def _record(fleet: Fleet, settings: RunSettings, console: Console) -> tuple[RunRecord | None, bool]:
    """Run the fleet; the first Ctrl-C ends it in order, one before it runs, or a second one, at once."""
    view = FleetView()
    with reporting(view, console) as reporter:
        run = FleetRun(fleet, settings, reporter, view)
        task = asyncio.ensure_future(run.run())
        interrupted = asyncio.Event()

        def interrupt() -> None:
            if run.started.is_set() and not interrupted.is_set():
                run.stop.set()
            else:
                task.cancel()
            interrupted.set()

        with on_signals(interrupt):
            try:
                return await task, interrupted.is_set()
            except asyncio.CancelledError:
                return None, True


def _finish(summary: Summary, kept: Path, *, temporary: bool, interrupted: bool) -> None:
    if summary.problems:
        _keep(kept, temporary=temporary)
        raise typer.Exit(ExitStatus.FAILED)
    _forget(kept, temporary=temporary)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _keep(kept: Path, *, temporary: bool) -> None:
    """Say where the logs are; a run that wrote none leaves nothing behind."""
    logs = kept / "logs"
    if logs.is_dir() and any(logs.iterdir()):
        notes().print(f"the logs are in {logs}", soft_wrap=True)
    else:
        _forget(kept, temporary=temporary)


def _forget(kept: Path, *, temporary: bool) -> None:
    if temporary:
        shutil.rmtree(kept, ignore_errors=True)
