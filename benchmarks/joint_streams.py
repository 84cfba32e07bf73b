"""Streams that share a server, planned each for itself and together: what is promised, and how long requests take.

    python -m benchmarks.joint_streams [--rounds N] [--out FILE]

A whole fleet runs on this machine: three cameras, each with a stream, and a server that is not much faster than they
are. All cameras send a photograph at the same moment, several times. The streams' policies ask for latency, by which
each is planned for itself, and then for the total delay, by which they are planned together: by `auto` and by the
strategies that are made for it. Predicted is the total delay by the joint problem that the planner poses from what
monitors and executors report; measured is the sum of the three delays, from a request's acceptance at its camera to its
result, the median of the rounds.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.emulated_fleet import RunningFleet, demo_fleet, running_fleet
from benchmarks.fleet_harness import BenchmarkFailed, FleetHarness
from benchmarks.report import RESULTS, console, write
from planning.files.problem_file import read_problem
from planning.problem.problem import Problem
from services.cli.support.fleet_operations import ask_planner, operator, set_policy
from services.cli.testbed.fleet_description import DeviceDescription, Fleet, LinkDescription
from services.planner.decisions.committed_routes import StreamRoutes, joint_cost
from shared.bus import topics
from shared.messages.streams import CommittedPlan, StreamDeclaration, route_text
from shared.policy import Policy

OUT = RESULTS / "joint_streams.json"
CAMERAS, SERVER = ("east", "north", "west"), "server"
CAMERA_SLOWDOWN, SERVER_SLOWDOWN = 24.0, 14.0
BANDWIDTH_MBPS, LATENCY_MS = 50.0, 2.0
ALONE = "each for itself"
CASES: Mapping[str, Mapping[str, Any]] = {
    ALONE: {"objective": "latency"},
    "auto": {"objective": "total_delay"},
    "rank_assignment": {"objective": "total_delay", "strategy": "rank_assignment"},
    "kafetzis_koutsopoulos": {"objective": "total_delay", "strategy": "kafetzis_koutsopoulos"},
}
_WAIT_S = 90.0


@dataclass(frozen=True, slots=True)
class Row:
    """One way of planning: total delays of one request per stream, ms, and the route of every stream."""

    case: str
    routes: tuple[str, ...]
    predicted_ms: float
    measured_ms: float
    best_ms: float
    worst_ms: float


def shared_server(demo: Fleet) -> Fleet:
    """Return the benchmark's fleet, with the demo's model and photographs."""
    devices = {camera: DeviceDescription(slowdown=CAMERA_SLOWDOWN) for camera in CAMERAS}
    links = tuple(LinkDescription((camera, SERVER), BANDWIDTH_MBPS, LATENCY_MS) for camera in CAMERAS)
    return replace(
        demo,
        devices={**devices, SERVER: DeviceDescription(slowdown=SERVER_SLOWDOWN)},
        links=links,
        stream=replace(demo.stream, name=CAMERAS[0], source=CAMERAS[0]),
        policy=Policy(),
        phases=(),
    )


@dataclass(slots=True)
class Shared:
    """The running fleet with all of its streams."""

    running: RunningFleet
    harnesses: Mapping[str, FleetHarness]
    forced: int = 0

    def plans(self) -> dict[str, CommittedPlan]:
        """Return the plans in force."""
        streams = self.running.harness.view.streams
        found = {camera: streams[camera].plan for camera in CAMERAS if camera in streams}
        return {camera: plan for camera, plan in found.items() if plan is not None}

    def routes(self) -> StreamRoutes:
        """Return the routes in force."""
        return {camera: plan.routes for camera, plan in self.plans().items()}

    async def force(self, policy: Mapping[str, Any]) -> None:
        """Put a policy in force for every stream; noise does not change the routes while they are measured."""
        self.forced += 1
        retry_limit = 10 + self.forced
        document = {**policy, "min_gain": 1.0, "cooldown_ms": 600_000.0, "codec": "lossless"}
        settings = self.running.harness.connection.settings
        for camera in CAMERAS:
            async with operator(settings) as connection:
                verdict = await set_policy(
                    connection, camera, {**document, "retry_limit": retry_limit}, timeout_s=_WAIT_S
                )
            if not verdict.policy_accepted:
                raise BenchmarkFailed(f"policy {policy}: {'; '.join(verdict.policy_reasons)}")
        wanted = [retry_limit] * len(CAMERAS)
        await self.running.harness.until(
            lambda: [plan.retry_limit for plan in self.plans().values()] == wanted, f"plans under {policy}", _WAIT_S
        )

    async def problem(self) -> Problem:
        """Return the joint problem as the planner poses it now."""
        async with operator(self.running.harness.connection.settings) as connection:
            answer = await ask_planner(connection, CAMERAS[0], timeout_s=_WAIT_S)
        problem = read_problem(answer.problem)
        if len(problem.streams) != len(CAMERAS):
            raise BenchmarkFailed("the streams are not planned together")
        return problem

    async def total_delay_ms(self) -> float:
        """Have every camera send a photograph at once; return the sum of their delays."""
        payload = self.running.workload.payloads[0]
        request_ids = {camera: await harness.submit(payload) for camera, harness in self.harnesses.items()}
        outcomes = [await self.harnesses[camera].outcome(request_id) for camera, request_id in request_ids.items()]
        return sum(1000 * (outcome.completed_at_s - outcome.accepted_at_s) for outcome in outcomes)

    async def measure(self, rounds: int) -> list[float]:
        """Return the total delay of every round, once all sources run the plans in force."""
        payload = self.running.workload.payloads[0]
        for camera, harness in self.harnesses.items():
            await harness.reach(payload, self.plans()[camera].epoch)
        return [await self.total_delay_ms() for _ in range(rounds)]


async def measure_all(rounds: int) -> list[Row]:
    """Measure every way of planning, each after the streams were planned for themselves."""
    demo, folder = demo_fleet()
    found: list[tuple[str, StreamRoutes, list[float]]] = []
    async with AsyncExitStack() as stack:
        run_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = await stack.enter_async_context(running_fleet(shared_server(demo), folder, run_dir))
        settings = running.harness.connection.settings
        harnesses = {CAMERAS[0]: running.harness}
        for camera in CAMERAS[1:]:
            declaration = StreamDeclaration(stream=camera, model=running.workload.manifest.model, source=camera)
            await running.harness.connection.publish(topics.stream(camera), declaration.encode(), retain=True)
            harnesses[camera] = await stack.enter_async_context(FleetHarness.open(settings, camera))
        shared = Shared(running, harnesses)
        await running.harness.until(lambda: len(shared.plans()) == len(CAMERAS), "first plans", _WAIT_S)
        problems = []
        for case, policy in CASES.items():
            await shared.force(CASES[ALONE])
            if case != ALONE:
                await shared.force(policy)
                problems.append(await shared.problem())
            found.append((case, shared.routes(), await shared.measure(rounds)))
    return [row(case, routes, took_ms, problems) for case, routes, took_ms in found]


def row(case: str, routes: StreamRoutes, took_ms: Sequence[float], problems: Sequence[Problem]) -> Row:
    """Sum up a case; predicted is the median over the problems that the planner posed in the course of the run."""
    predicted_ms = statistics.median(joint_cost(problem, routes) for problem in problems)
    texts = tuple(route_text(route) for own in routes.values() for route in own)
    return Row(case, texts, predicted_ms, statistics.median(took_ms), min(took_ms), max(took_ms))


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as people read them."""
    made = Table("planned", "routes", title="total delay of one request per stream, ms")
    for heading in ("predicted", "measured", "spread"):
        made.add_column(heading, justify="right")
    for each in rows:
        spread = f"{each.best_ms:.0f} to {each.worst_ms:.0f}"
        made.add_row(each.case, "\n".join(each.routes), f"{each.predicted_ms:.0f}", f"{each.measured_ms:.0f}", spread)
    return made


def headline(rows: Sequence[Row]) -> str:
    """Sum up what planning together gains."""
    alone, *joint = rows
    best = min(joint, key=lambda each: each.predicted_ms)
    return (
        f"three cameras that share a server: planned together ({best.case}) {best.measured_ms:.0f} ms of total delay, "
        f"each for itself {alone.measured_ms:.0f} ms (predicted {best.predicted_ms:.0f} and {alone.predicted_ms:.0f})"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="photographs per camera and case")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows = asyncio.run(measure_all(options.rounds))
    console().print(table(rows))
    summary = headline(rows)
    console().print(summary)
    write(options.out, {"headline": summary, "rounds": options.rounds, "rows": [asdict(each) for each in rows]})


if __name__ == "__main__":
    main()
