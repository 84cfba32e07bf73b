"""Total delay (ms) of streams that share servers, planned separately and jointly; predicted and measured.

    python -m benchmarks.joint_streams [--quick] [--out FILE] [--rounds N]

A whole fleet runs on this machine: three cameras with a stream each, and one or two servers that are little faster than
they are. All cameras send photographs at the same moment, in several rounds: one each, a burst of six each, or one each
at a steady rate. First the objective is latency, for which each stream is planned separately. Then it is total delay,
for which the streams are planned jointly: by the strategies made for it, and by `auto`, whose finishing search begins
with their plans. The predicted value is the total delay of the joint problem, which the planner builds from the reports
of monitors and executors. The measured value is the sum of all delays, each from acceptance at its camera to its
result. The table shows the median of the rounds.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.emulated_fleet import RunningFleet, demo_fleet, running_fleet
from benchmarks.fleet_harness import BenchmarkFailed, FleetHarness
from benchmarks.report import argument_parser, console, write
from planning.files.problem_file import read_problem
from planning.problem.problem import Problem
from services.cli.support.fleet_operations import ask_planner, operator, set_policy
from services.cli.testbed.fleet_description import DeviceDescription, Fleet, LinkDescription
from services.planner.decisions.committed_routes import StreamRoutes, joint_cost
from shared.bus import topics
from shared.messages.streams import CommittedPlan, StreamDeclaration, route_text
from shared.policy import Policy

CAMERAS, SERVERS = ("east", "north", "west"), ("server", "annex")
CAMERA_SLOWDOWN, SERVER_SLOWDOWNS = 24.0, (14.0, 20.0)
BANDWIDTH_MBPS, LATENCY_MS = 50.0, 2.0
ALONE: Final = "separately"
ROUNDS, QUICK_ROUNDS = 15, 5
CASES: Mapping[str, Mapping[str, Any]] = {
    ALONE: {"objective": "latency"},
    "auto": {"objective": "total_delay"},
    "rank_assignment": {"objective": "total_delay", "strategy": "rank_assignment"},
    "kafetzis_koutsopoulos": {"objective": "total_delay", "strategy": "kafetzis_koutsopoulos"},
}
_WAIT_S = 90.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the cameras send, and to how many servers.

    Attributes:
        name: for the table.
        servers: number of servers.
        jobs: photographs that each camera sends at the same moment.
        period_s: from the beginning of a round to that of the next; None to wait for the results.
    """

    name: str
    servers: int
    jobs: int = 1
    period_s: float | None = None


SCENARIOS: Final = (
    Scenario("one server, single photographs", 1),
    Scenario("two servers, single photographs", 2),
    Scenario("two servers, bursts of 6", 2, jobs=6),
    Scenario("two servers, 1 Hz each", 2, period_s=1.0),
)


@dataclass(frozen=True, slots=True)
class JointRow:
    """One way of planning: total delays in ms of a round, and the routes of all streams."""

    scenario: str
    case: str
    routes: tuple[str, ...]
    predicted_ms: float
    measured_ms: float
    best_ms: float
    worst_ms: float


def three_cameras(demo: Fleet, servers: int) -> Fleet:
    """Return the benchmark's fleet with so many servers, and with the demo's model and photographs."""
    cameras = {camera: DeviceDescription(slowdown=CAMERA_SLOWDOWN) for camera in CAMERAS}
    slowdowns = dict(zip(SERVERS[:servers], SERVER_SLOWDOWNS, strict=False))
    links = tuple(
        LinkDescription((camera, server), BANDWIDTH_MBPS, LATENCY_MS) for camera in CAMERAS for server in slowdowns
    )
    return replace(
        demo,
        devices={**cameras, **{server: DeviceDescription(slowdown=slowdown) for server, slowdown in slowdowns.items()}},
        links=links,
        stream=replace(demo.stream, name=CAMERAS[0], source=CAMERAS[0]),
        policy=Policy(),
        phases=(),
    )


@dataclass(slots=True)
class JointFleet:
    """A running fleet with a harness for each stream."""

    running: RunningFleet
    harnesses: Mapping[str, FleetHarness]
    scenario: Scenario
    forced: int = 0

    def plans(self) -> dict[str, CommittedPlan]:
        """Return the plans in force."""
        streams = self.running.harness.view.streams
        plans = {camera: streams[camera].plan for camera in CAMERAS if camera in streams}
        return {camera: plan for camera, plan in plans.items() if plan is not None}

    def routes(self) -> StreamRoutes:
        """Return the routes in force."""
        return {camera: plan.routes for camera, plan in self.plans().items()}

    async def force(self, policy: Mapping[str, Any]) -> None:
        """Put a policy in force for every stream, with a threshold that keeps routes while they are measured."""
        self.forced += 1
        retry_limit = 10 + self.forced
        document = {**policy, "min_gain": 1.0, "cooldown_ms": 600_000.0, "codec": "lossless"}
        document["max_in_flight"] = max(4, self.scenario.jobs)
        settings = self.running.harness.connection.settings
        for camera in CAMERAS:
            async with operator(settings) as connection:
                answer = await set_policy(
                    connection, camera, {**document, "retry_limit": retry_limit}, timeout_s=_WAIT_S
                )
            if not answer.policy_accepted:
                raise BenchmarkFailed(f"policy {policy}: {'; '.join(answer.policy_reasons)}")
        expected = [retry_limit] * len(CAMERAS)
        await self.running.harness.until(
            lambda: [plan.retry_limit for plan in self.plans().values()] == expected, f"plans under {policy}", _WAIT_S
        )

    async def problem(self) -> Problem:
        """Return the joint problem that the planner poses at present."""
        async with operator(self.running.harness.connection.settings) as connection:
            answer = await ask_planner(connection, CAMERAS[0], timeout_s=_WAIT_S)
        problem = read_problem(answer.problem)
        if len(problem.streams) != len(CAMERAS):
            raise BenchmarkFailed("the streams are not planned together")
        return problem

    async def total_delay_ms(self) -> float:
        """Submit the photographs of every camera at the same moment; return the sum of their delays."""
        payload = self.running.workload.payloads[0]
        requests = [
            (harness, await harness.submit(payload))
            for _ in range(self.scenario.jobs)
            for harness in self.harnesses.values()
        ]
        outcomes = [await harness.outcome(request_id) for harness, request_id in requests]
        return sum(1000 * (outcome.completed_at_s - outcome.accepted_at_s) for outcome in outcomes)

    async def measure(self, rounds: int) -> list[float]:
        """Wait until all sources run the plans in force; return the total delay of every round."""
        payload = self.running.workload.payloads[0]
        for camera, harness in self.harnesses.items():
            await harness.reach(payload, self.plans()[camera].epoch)
        if self.scenario.period_s is None:
            return [await self.total_delay_ms() for _ in range(rounds)]
        async with asyncio.TaskGroup() as group:
            tasks = []
            for _ in range(rounds):
                tasks.append(group.create_task(self.total_delay_ms()))
                await asyncio.sleep(self.scenario.period_s)
        return [task.result() for task in tasks]


async def measure_scenario(scenario: Scenario, rounds: int) -> list[JointRow]:
    """Measure every way of planning, each after the streams were planned separately."""
    demo, folder = demo_fleet()
    results: list[tuple[str, StreamRoutes, list[float]]] = []
    async with AsyncExitStack() as stack:
        run_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = await stack.enter_async_context(running_fleet(three_cameras(demo, scenario.servers), folder, run_dir))
        settings = running.harness.connection.settings
        harnesses = {CAMERAS[0]: running.harness}
        for camera in CAMERAS:
            declaration = StreamDeclaration(
                stream=camera, model=running.workload.manifest.model, source=camera, jobs=scenario.jobs
            )
            await running.harness.connection.publish(topics.stream(camera), declaration.encode(), retain=True)
            if camera not in harnesses:
                harnesses[camera] = await stack.enter_async_context(FleetHarness.open(settings, camera))
        shared = JointFleet(running, harnesses, scenario)
        await running.harness.until(lambda: len(shared.plans()) == len(CAMERAS), "first plans", _WAIT_S)
        problems = []
        for case, policy in CASES.items():
            await shared.force(CASES[ALONE])
            if case != ALONE:
                await shared.force(policy)
                problems.append(await shared.problem())
            results.append((case, shared.routes(), await shared.measure(rounds)))
    return [joint_row(scenario.name, case, routes, took_ms, problems) for case, routes, took_ms in results]


def joint_row(
    scenario: str, case: str, routes: StreamRoutes, took_ms: Sequence[float], problems: Sequence[Problem]
) -> JointRow:
    """Return the row of a case; predicted is the median over all problems that the planner posed during the run."""
    # Plans of streams that are planned separately have one route for all jobs of a burst.
    predicted_ms = statistics.median(joint_cost(problem, routes) for problem in problems)
    texts = tuple(f"{route.weight} x {route_text(route)}" for own in routes.values() for route in own)
    return JointRow(scenario, case, texts, predicted_ms, statistics.median(took_ms), min(took_ms), max(took_ms))


def table(rows: Sequence[JointRow]) -> Table:
    """Return the rows as a table."""
    made = Table("fleet", "planned", "routes", title="total delay of a round, ms")
    for heading in ("predicted", "measured", "spread"):
        made.add_column(heading, justify="right")
    for row in rows:
        spread = f"{row.best_ms:.0f} to {row.worst_ms:.0f}"
        routes = "\n".join(row.routes)
        made.add_row(row.scenario, row.case, routes, f"{row.predicted_ms:.0f}", f"{row.measured_ms:.0f}", spread)
    return made


def headline(rows: Sequence[JointRow]) -> str:
    """Summarise the gain of joint planning and of the finishing search in a line for every scenario."""
    lines = []
    for scenario in SCENARIOS:
        alone, auto, *others = [row for row in rows if row.scenario == scenario.name]
        best = min(others, key=lambda row: row.predicted_ms)
        lines.append(
            f"{scenario.name}: auto {auto.measured_ms:.0f} ms of total delay, {best.case} {best.measured_ms:.0f}, "
            f"separately {alone.measured_ms:.0f} (predicted {auto.predicted_ms:.0f}, {best.predicted_ms:.0f} and "
            f"{alone.predicted_ms:.0f})"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("joint_streams", __doc__, quick=f"{QUICK_ROUNDS} rounds")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="photographs per camera and case (default: %(default)s)"
    )
    options = parser.parse_args()
    rounds = QUICK_ROUNDS if options.quick else options.rounds
    rows = [row for scenario in SCENARIOS for row in asyncio.run(measure_scenario(scenario, rounds))]
    console().print(table(rows))
    summary = headline(rows)
    console().print(summary)
    write(options.out, {"headline": summary, "rounds": rounds, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
