"""Models that no device holds, on executors with little memory: peak memory of every process, and right results.

Executors run in control groups (version 1) with a limit on all memory, file cache included, if such groups can be made
here; else with a setting on the memory of segments. They share nothing: every byte of the model comes over MQTT.
"""

import asyncio
import contextlib
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper
from rich.table import Table

from benchmarks.report import argument_parser, console, write
from services.cli.support.fleet_operations import add_model, declare_stream, until_running
from services.cli.support.manifest import build_manifest, read_model
from services.cli.support.published_model import published_model
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.client import Client
from shared.messages.models import Manifest
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import StreamDeclaration, StreamPhase
from shared.model.architectures import build
from shared.model.materialise import materialise_weights, without_softmax
from shared.model.onnx_file import write_onnx
from shared.model.onnx_file.runtime import ModelSession

SEED: Final = 7
MEMORY_GROUPS: Final = Path("/sys/fs/cgroup/memory")
# Without control groups, what an executor takes beside its segments.
_PROCESS_MIB: Final = 150
_ROUTE_S: Final = 900.0
_REQUESTS: Final = 5
_REQUEST_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Case:
    """A model, and the executors that run it.

    Attributes:
        model: `alexnet`, or the number of layers of a chain with 64 MiB of weights each.
        limit_mib: memory of each executor.
        devices: number of executors.
    """

    model: str
    limit_mib: int
    devices: int


CASES: Final = (Case("alexnet", 429, 2), Case("15", 488, 3))


@dataclass(slots=True)
class Measured:
    """Peak memory of a process, in MiB.

    Attributes:
        resident: largest resident size, mapped files included.
        charged: largest memory charged to its control group; None without one.
    """

    resident: float
    charged: float | None


@dataclass(slots=True)
class Fleet:
    """The processes of a fleet."""

    folder: Path
    settings: BusSettings
    limit_mib: int
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    groups: dict[str, Path] = field(default_factory=dict)

    async def start(self, name: str, *arguments: str, limited: bool = False) -> None:
        """Start a process of `segue`, in a control group if its memory is limited and groups can be made."""
        command = [sys.executable, "-m", "services.cli.main", *arguments]
        if limited and (group := self._make_group()) is not None:
            self.groups[name] = group
            command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
        elif limited:
            command += ["--memory-mib", str(self.limit_mib - _PROCESS_MIB)]
        log = (self.folder / f"{name}.log").open("wb")
        self.processes[name] = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        log.close()

    def measured(self) -> dict[str, Measured]:
        """Return the peak memory of every process."""
        return {
            name: Measured(_peak_mib(process.pid), self._charged_mib(name)) for name, process in self.processes.items()
        }

    async def stop(self) -> None:
        """End all processes and remove their groups."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(process.wait() for process in self.processes.values()))
        for group in self.groups.values():
            group.rmdir()

    def _make_group(self) -> Path | None:
        group = MEMORY_GROUPS / f"segue-{uuid.uuid4().hex[:8]}"
        try:
            group.mkdir()
            (group / "memory.limit_in_bytes").write_text(str(self.limit_mib * 2**20))
        except OSError:
            return None
        return group

    def _charged_mib(self, name: str) -> float | None:
        group = self.groups.get(name)
        return None if group is None else int((group / "memory.max_usage_in_bytes").read_text()) / 2**20


def make_model(case: Case, folder: Path) -> Path:
    """Write the model of a case with seeded weights, and return its path."""
    path = folder / f"{case.model}.onnx"
    if not case.model.isdigit():
        write_onnx(without_softmax(materialise_weights(build(case.model), SEED)), path)
        return path
    width, generator = 4096, np.random.default_rng(SEED)
    value, nodes, weights = helper.make_tensor_value_info, [], []
    for layer in range(int(case.model)):
        matrix = generator.standard_normal((width, width), dtype=np.float32) * np.float32((2 / width) ** 0.5)
        weights.append(numpy_helper.from_array(matrix, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"h{layer}", f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"h{layer + 1}"]))
    last = f"h{int(case.model)}"
    graph = helper.make_graph(nodes, "chain", [value("h0", 1, [1, width])], [value(last, 1, [1, width])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


async def run_case(case: Case, folder: Path) -> dict[str, object]:
    """Run a case and return its row of results."""
    path = await asyncio.to_thread(make_model, case, folder)
    content = await asyncio.to_thread(read_model, path)
    manifest = build_manifest(path, model=content)
    payload = np.random.default_rng(1).standard_normal(manifest.inputs[0].shape).astype(np.float32).tobytes()
    async with started(case, folder) as fleet:
        began_s = time.monotonic()
        with published_model(path, manifest, content) as published:
            del content
            await add_model(fleet.settings, published.manifest, published.file)
        added_s = time.monotonic()
        async with Connection.open(fleet.settings) as operator:
            await declare_stream(operator, StreamDeclaration(stream="s", model=manifest.model, source="d0"))
            status = await until_running(operator, "s", timeout_s=_ROUTE_S)
            if status.state is not StreamPhase.RUNNING:
                raise SystemExit("; ".join(status.reasons))
        running_s = time.monotonic()
        async with Client.open(fleet.settings) as client:
            outcomes = [
                await client.submit("s", payload, timeout_s=_REQUEST_S, whole_outputs=True) for _ in range(_REQUESTS)
            ]
        measured = fleet.measured()
        dead = [name for name, process in fleet.processes.items() if process.returncode is not None]
    error = await asyncio.to_thread(_error, path, manifest, payload, outcomes[-1])
    return {
        "model": case.model,
        "model_mib": round(manifest.size_bytes / 2**20, 1),
        "limit_mib": case.limit_mib,
        "route": _route_text(outcomes[-1]),
        "upload_s": round(added_s - began_s, 1),
        "until_running_s": round(running_s - added_s, 1),
        "latency_ms": round(min(1000 * (outcome.completed_at_s - outcome.accepted_at_s) for outcome in outcomes), 1),
        "relative_error": error,
        "ended_processes": dead,
        "grouped": bool(fleet.groups),
        "processes": {name: vars_of(each) for name, each in measured.items()},
    }


def vars_of(measured: Measured) -> dict[str, float | None]:
    """Return the peaks of a process by name."""
    return {"resident_mib": round(measured.resident, 1), "charged_mib": measured.charged}


@contextlib.asynccontextmanager
async def started(case: Case, folder: Path) -> AsyncIterator[Fleet]:
    """Start broker, planner and executors, and end them."""
    port = _free_port()
    settings = BusSettings(port=port)
    fleet = Fleet(folder, settings, case.limit_mib)
    address = ("--broker", settings.address)
    try:
        await fleet.start("broker", "broker", "--port", str(port))
        await fleet.start("planner", "planner", "--data-dir", str(folder / "planner"), *address)
        for number in range(case.devices):
            name = f"d{number}"
            data = ("--data-dir", str(folder / name))
            await fleet.start(name, "executor", "--device", name, *data, *address, limited=True)
            await fleet.start(f"monitor-{name}", "monitor", "--device", name, *address)
        yield fleet
    finally:
        await fleet.stop()


def _error(path: Path, manifest: Manifest, payload: bytes, outcome: Outcome) -> float:
    """Return the largest difference from the whole model's output, relative to its largest value."""
    spec = manifest.inputs[0]
    values = {spec.name: np.frombuffer(payload, np.float32).reshape(spec.shape)}
    (expected,) = ModelSession(str(path)).run(values).values()
    if outcome.status is not OutcomeStatus.OK:
        raise SystemExit(f"the request failed: {outcome.error}")
    output = outcome.outputs[0]
    got = np.frombuffer(output.data, output.dtype).reshape(expected.shape)
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def _route_text(outcome: Outcome) -> str:
    return " > ".join(f"{stage.device}[{stage.start},{stage.stop})" for stage in outcome.trace)


def _peak_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def show(rows: Sequence[Mapping[str, object]]) -> None:
    """Print the results."""
    for row in rows:
        table = Table(title=f"{row['model']}: {row['model_mib']} MiB on executors with {row['limit_mib']} MiB")
        for heading in ("process", "peak resident MiB", "peak charged to its group MiB"):
            table.add_column(heading)
        processes = row["processes"]
        assert isinstance(processes, dict)
        for name, peak in processes.items():
            charged = peak["charged_mib"]
            table.add_row(name, f"{peak['resident_mib']:.0f}", "" if charged is None else f"{charged:.0f}")
        console().print(table)
        console().print(
            f"route {row['route']}; error {row['relative_error']:.2g}; upload {row['upload_s']} s, until running "
            f"{row['until_running_s']} s, request {row['latency_ms']} ms; ended processes: {row['ended_processes']}"
        )


def main() -> None:
    """Run the cases."""
    parser = argument_parser("small_devices", __doc__, quick="AlexNet only")
    options = parser.parse_args()
    rows = []
    for case in CASES[:1] if options.quick else CASES:
        with tempfile.TemporaryDirectory(prefix="segue-small-") as folder:
            rows.append(asyncio.run(run_case(case, Path(folder))))
    show(rows)
    write(options.out, {"cases": rows, "headline": "; ".join(f"{row['model']}: {row['route']}" for row in rows)})


if __name__ == "__main__":
    main()
