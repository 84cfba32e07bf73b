"""`segue simulate`: run a plan through arrivals and changes, event by event."""

import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.files.json_document import InvalidDocumentError
from planning.files.plan_file import read_plan, write_answer
from planning.problem.plan import Constraint, Infeasible, Plan
from planning.problem.problem import Problem
from planning.queueing.event_loop import Rules
from planning.simulation.arrivals import AllAtOnce, Arrivals, Periodic, Poisson
from planning.simulation.perfetto_trace import chrome_trace
from planning.simulation.scenario import Scenario
from planning.simulation.simulation import Timeline, simulate
from services.cli.render.console import print_json, results_console
from services.cli.render.plan_tables import reasons_table, simulation_tables
from services.cli.render.plan_values import simulation_values
from services.cli.support.output_files import check_file
from services.cli.support.plan_options import (
    BudgetOption,
    JsonOption,
    ObjectiveOption,
    ProblemArgument,
    SeedOption,
    StrategyOption,
)
from services.cli.support.plot_option import check_plot, save_gantt
from services.cli.support.problem_files import (
    DOCUMENT_INDENT,
    SolveOptions,
    invalid_file,
    load_problem,
    print_note,
    read_document,
    solve_timed,
    wrong_input,
)
from services.cli.support.scenario_options import load_scenario
from shared.exit_status import ExitStatus


class ArrivalKind(StrEnum):
    """Kinds of arrivals."""

    BURST = "burst"
    PERIODIC = "periodic"
    POISSON = "poisson"


PlanFile = Annotated[Path | None, typer.Option("--plan", help="An answer of `segue plan --json` to run.")]
ArrivalsOption = Annotated[ArrivalKind, typer.Option("--arrivals", help="Kind of arrivals.")]
Rate = Annotated[
    float | None, typer.Option("--rate-hz", min=1e-6, help="Requests per second; each stream's own rate if not given.")
]
Requests = Annotated[
    int | None,
    typer.Option("--requests", min=1, max=1_000_000, help="Requests per stream; its jobs or recording if not given."),
]
ScenarioFile = Annotated[
    Path | None,
    typer.Option("--scenario", help="Changes during the run and recorded arrivals (JSON; segue schema scenario)."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--change",
        help="MS:DEVICE=LOAD_FACTOR or MS:FROM,TO=MBPS, or =gone, from that time on. Repeatable, also with --scenario.",
    ),
]
Quantum = Annotated[
    float | None, typer.Option("--quantum-ms", min=1e-6, help="Slot of round robin; infinitely small if not given.")
]
Background = Annotated[
    list[str] | None, typer.Option("--background", help="DEVICE=N endless processes beside the work; repeatable.")
]
TraceFile = Annotated[Path | None, typer.Option("--trace", help="Write a trace for Perfetto or chrome://tracing.")]
GanttFile = Annotated[Path | None, typer.Option("--plot", help="Draw the Gantt chart: .png, .svg, .html.")]


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """Arrivals and service of the requests.

    Attributes:
        arrivals: kind of arrivals of streams without a recording.
        rate_hz: rate of every stream; None for each stream's own.
        requests: requests per stream; None for its jobs or its recording.
        quantum_ms: slot of round robin; None for an infinitely small one.
        background: values of --background.
        scenario: changes during the run, and recorded arrivals.
        seed: of random arrivals.
    """

    arrivals: ArrivalKind
    rate_hz: float | None
    requests: int | None
    quantum_ms: float | None
    background: tuple[str, ...]
    scenario: Scenario
    seed: int


def simulate_command(
    problem_file: ProblemArgument = None,
    plan_file: PlanFile = None,
    strategy: StrategyOption = None,
    objective: ObjectiveOption = None,
    arrivals: ArrivalsOption = ArrivalKind.BURST,
    rate_hz: Rate = None,
    requests: Requests = None,
    scenario_file: ScenarioFile = None,
    change: Changes = None,
    quantum_ms: Quantum = None,
    background: Background = None,
    trace: TraceFile = None,
    plot: GanttFile = None,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
    time_budget_s: BudgetOption = 1.0,
) -> None:
    """Run a plan for a PROBLEM file event by event, with queues, tiles and shared links.

    Solves the problem first, unless --plan names an answer, which may miss its deadlines. Prints latency percentiles,
    throughput, and how busy every device and link is. Loads and bandwidths may change during the run. Work under way
    continues at the new rate, and the plan stays the same. Work on a device or link that is gone is paused until a
    later change.

    \b
    segue simulate problem.json --requests 100
    segue simulate problem.json --arrivals poisson --rate-hz 12 --requests 1000 --trace trace.json
    segue simulate problem.json --plan answer.json --background server=2
    segue simulate problem.json --change 100:server=3 --change 250:pi,server=2.5 --change 400:server=gone
    cd examples/tiles; segue simulate problem.json --plan plan.json --scenario scenario.json --plot gantt.png
    """
    check_plot(plot)
    check_file("--trace", trace)
    problem = load_problem(problem_file, strategy, objective)
    scenario = load_scenario(problem, scenario_file, change or ())
    answer = _planned(problem, plan_file, SolveOptions(seed, time_budget_s))
    if isinstance(answer, Infeasible):
        _show_infeasible(answer, as_json)
        raise typer.Exit(ExitStatus.INFEASIBLE)
    _note_missed_deadlines(problem, answer)
    options = SimulationOptions(arrivals, rate_hz, requests, quantum_ms, tuple(background or ()), scenario, seed)
    timeline = _simulate(problem, answer, options)
    if trace is not None:
        _write_trace(trace, timeline)
    if plot is not None:
        save_gantt(plot, problem, answer, timeline)
    _show_timeline(answer, timeline, as_json)


def _planned(problem: Problem, plan_file: Path | None, options: SolveOptions) -> Plan | Infeasible:
    """Return the plan of the file, or solve the problem."""
    if plan_file is None:
        return solve_timed(problem, problem.policy.strategy, options)
    try:
        answer = read_plan(read_document(plan_file))
    except InvalidDocumentError as exc:
        raise invalid_file(plan_file, exc.faults) from exc
    faults = plan_misfits(problem, answer)
    if faults:
        raise invalid_file(plan_file, faults)
    return answer


def plan_misfits(problem: Problem, answer: Plan) -> list[str]:
    """Return the reasons for which a plan cannot run on a problem; one that misses a deadline can."""
    faults: list[str] = []
    names = {stream.name for stream in problem.streams}
    faults += [f"$.streams.{name}: the problem has no such stream" for name in answer.streams if name not in names]
    for name, stream_plan in answer.streams.items():
        if name not in names:
            continue
        blocks = len(problem.models[problem.stream(name).model].blocks)
        for index, route in enumerate(stream_plan.routes):
            path = f"$.streams.{name}.routes[{index}]"
            # 0, start, stop, ..., start, stop, blocks: the pairs are equal if every stage starts where the last stops.
            bounds = [0, *(stop for stage in route.stages for stop in (stage.start, stage.stop)), blocks]
            if bounds[::2] != bounds[1::2] or any(stage.start >= stage.stop for stage in route.stages):
                faults.append(f"{path}: its stages do not run the blocks [0, {blocks}) in order")
            if any(device not in problem.devices for device in route.devices):
                faults.append(f"{path}: it uses a device that the problem does not have")
    if faults:
        return faults
    broken = violations(CostModel(problem), answer.streams)
    return [each.message for each in broken if each.constraint is not Constraint.DEADLINE]


def _note_missed_deadlines(problem: Problem, answer: Plan) -> None:
    """Print a note for every deadline that a single request of the plan misses."""
    for violation in violations(CostModel(problem), answer.streams):
        if violation.constraint is Constraint.DEADLINE:
            print_note(violation.message)


def _simulate(problem: Problem, answer: Plan, options: SimulationOptions) -> Timeline:
    scenario = options.scenario
    return simulate(
        problem,
        answer,
        seed=options.seed,
        arrivals={
            stream.name: scenario.arrivals.get(stream.name)
            or _arrivals(options.arrivals, options.rate_hz or stream.rate_hz, stream.name)
            for stream in problem.streams
        },
        requests=options.requests,
        rules=Rules(answer.disciplines, options.quantum_ms, _background(problem, options.background)),
        changes=scenario.changes,
    )


def _arrivals(kind: ArrivalKind, rate_hz: float | None, stream: str) -> Arrivals:
    if kind is ArrivalKind.BURST:
        return AllAtOnce()
    if rate_hz is None:
        raise wrong_input(f"stream {stream} has no rate_hz: give --rate-hz")
    return Periodic(rate_hz) if kind is ArrivalKind.PERIODIC else Poisson(rate_hz)


def _background(problem: Problem, entries: tuple[str, ...]) -> dict[str, int]:
    """Return the number of background processes by device."""
    processes: dict[str, int] = {}
    for entry in entries:
        device, _, number = entry.partition("=")
        if device not in problem.devices or not number.isdigit():
            raise wrong_input(f"--background {entry}: expected DEVICE=N with a device of the problem")
        processes[device] = int(number)
    return processes


def _write_trace(path: Path, timeline: Timeline) -> None:
    try:
        path.write_text(json.dumps(chrome_trace(timeline)))
    except OSError as exc:
        raise wrong_input(f"{path}: {exc.strerror or exc}") from exc


def _show_infeasible(answer: Infeasible, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(write_answer(answer) + "\n")
    else:
        results_console().print(reasons_table(answer))


def _show_timeline(answer: Plan, timeline: Timeline, as_json: bool) -> None:
    if as_json:
        print_json({"strategy": answer.strategy, **simulation_values(timeline)}, indent=DOCUMENT_INDENT)
        return
    for table in simulation_tables(answer, timeline):
        results_console().print(table)
