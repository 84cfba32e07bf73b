"""`segue demo` and `segue up`: a whole fleet on this machine."""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from services.cli.calibration import calibrations_folder
from services.cli.render.console import notes_console, print_json, results_console
from services.cli.render.fleet_view import FleetView
from services.cli.support.command_runner import INTERRUPTED, on_signals, quiet_logging
from services.cli.support.options import Json
from services.cli.support.output_files import make_folder
from services.cli.testbed.fleet_description import Fleet
from services.cli.testbed.fleet_file import read_fleet
from services.cli.testbed.fleet_run import FleetRun, RunSettings
from services.cli.testbed.run_record import RunRecord
from services.cli.testbed.run_reporter import run_reporter
from services.cli.testbed.run_summary import RunSummary, summarise
from services.cli.testbed.summary_document import summary_document
from services.cli.testbed.summary_tables import print_summary
from shared.exit_status import ExitStatus, InputError
from shared.transport_mode import TransportMode

RunDir = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        help="Folder for logs, models and databases. If not given, a temporary one, deleted after a good run.",
    ),
]
PhaseSeconds = Annotated[float | None, typer.Option("--phase-s", min=1.0, help="Duration of every phase, in seconds.")]
FleetFile = Annotated[Path, typer.Argument(metavar="FLEET.toml", help="The fleet.", show_default=False)]
Duration = Annotated[
    float | None,
    typer.Option(
        "--duration-s", min=1.0, help="Duration of a fleet without phases, in seconds; Ctrl-C ends it if not given."
    ),
]
Requests = Annotated[int | None, typer.Option("--requests", min=1, help="Stop after this number of requests.")]
Calibrate = Annotated[
    bool | None,
    typer.Option(
        "--calibrate/--no-calibrate",
        help="Measure encodings of feature maps first, so that the planner can choose them; else as FLEET.toml says.",
        show_default=False,
    ),
]


Transport = Annotated[
    TransportMode | None,
    typer.Option("--transport", help="Way of feature maps: mqtt, direct or auto; if not given, as FLEET.toml says."),
]


def demo_command(
    as_json: Json = False,
    phase_s: PhaseSeconds = None,
    transport: Transport = None,
    run_dir: RunDir = None,
) -> None:
    """Run the whole system on this machine, with disturbances, in under two minutes.

    Starts an MQTT broker, planner, collector, and three devices. Each device is a monitor process and an executor
    process whose speed and links are emulated. SqueezeNet classifies photographs. During the run a link loses most of
    its bandwidth, a device gets a load, and a device is killed with SIGKILL and started again. The summary shows every
    reroute with its reason and its effect. It checks that every request has exactly one outcome, equal to that of the
    whole model.

    Exit status 1 if a request is lost, a result differs, or a disturbance changes no route.
    """
    with resources.as_file(resources.files("services.cli.data")) as folder:
        fleet = read_fleet(folder / "demo.toml")
        if phase_s is not None:
            fleet = fleet.with_phase_s(phase_s)
        if transport is not None:
            fleet = replace(fleet, transport=transport)
        _run(fleet, folder, run_dir, as_json)


def up_command(
    description: FleetFile,
    duration_s: Duration = None,
    requests: Requests = None,
    phase_s: PhaseSeconds = None,
    calibrate: Calibrate = None,
    transport: Transport = None,
    run_dir: RunDir = None,
    as_json: Json = False,
) -> None:
    """Run your own fleet, model and images on this machine, and print a summary.

    FLEET.toml names the model, the images, the devices with their slowdowns, the links, the policy, and phases with
    disturbances. The file examples/fleet.toml explains every key. On several machines, start the services one by one
    instead: `segue broker`, `planner`, `collector`, `executor`, `monitor`.
    """
    fleet = read_fleet(description)
    if fleet.phases and duration_s is not None:
        raise InputError(f"--duration-s: {description} has phases, which end by themselves; --phase-s shortens them")
    if not fleet.phases and phase_s is not None:
        raise InputError(f"--phase-s: {description} has no phases; --duration-s limits the run")
    if phase_s is not None:
        fleet = fleet.with_phase_s(phase_s)
    if calibrate is not None:
        fleet = fleet.with_calibration(calibrate)
    if transport is not None:
        fleet = replace(fleet, transport=transport)
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
    run_folder = _RunFolder(run_dir)
    settings = RunSettings(folder, run_folder.path, calibrations_folder(), duration_s=duration_s, requests=requests)
    quiet_logging()
    try:
        record, interrupted = asyncio.run(_record(fleet, settings))
    except Exception:
        # The error names a part of the fleet; its log has the cause.
        run_folder.keep_logs()
        raise
    if record is None:
        run_folder.delete_temporary()
        raise typer.Exit(INTERRUPTED)
    summary = summarise(record)
    _show(summary, as_json)
    if summary.problems:
        run_folder.keep_logs()
        raise typer.Exit(ExitStatus.FAILED)
    run_folder.delete_temporary()
    # Ctrl-C is the usual end of a fleet without phases.
    if interrupted and fleet.phases:
        raise typer.Exit(INTERRUPTED)


async def _record(fleet: Fleet, settings: RunSettings) -> tuple[RunRecord | None, bool]:
    """Run the fleet; return its record, None if it was cancelled, and whether Ctrl-C was pressed.

    The first Ctrl-C while requests flow ends the run in order. An earlier or a second one cancels it.
    """
    view = FleetView()
    with run_reporter(view, notes_console()) as reporter:
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


def _show(summary: RunSummary, as_json: bool) -> None:
    if as_json:
        print_json(summary_document(summary))
    else:
        print_summary(results_console(), summary)


class _RunFolder:
    """The folder of a run: the given one, or a temporary one that is deleted unless its logs are needed."""

    def __init__(self, given: Path | None) -> None:
        self._is_temporary = given is None
        self.path = Path(tempfile.mkdtemp(prefix="segue-")) if given is None else given

    def keep_logs(self) -> None:
        """Print where the logs are. Without logs a temporary folder is deleted."""
        logs = self.path / "logs"
        if logs.is_dir() and any(logs.iterdir()):
            notes_console().print(f"the logs are in {logs}", soft_wrap=True)
        else:
            self.delete_temporary()

    def delete_temporary(self) -> None:
        """Delete the folder if it is temporary."""
        if self._is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)
