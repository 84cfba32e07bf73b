"""Offline planning from the command line: solve problem files, compare strategies, simulate, print schemas."""

import ctypes
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from services.cli.explain_live import live_problem, live_values, reroute_lines, running_stream
from services.cli.options import DEFAULT_BROKER, Broker, Timeout, output, settings
from services.cli.plan_tables import (
    comparison_table,
    decision_tables,
    reasons_table,
    show_plan,
    simulation_tables,
    strategies_table,
)
from services.cli.plan_values import comparison_values, decision_values, simulation_values
from services.cli.plot_option import PlotOption, check_plot, save_plot
from services.planner.strategies.comparison import binding_constraints, changes
from services.planner.strategies.registry import strategies
from shared.asyncapi import bus_document
from shared.plan.arrivals import AllAtOnce, Arrivals, Periodic, Poisson
from shared.plan.constraints import violations
from shared.plan.cost import CostModel
from shared.plan.engine import Rules
from shared.plan.plan import Infeasible, Plan
from shared.plan.plan_file import plan_schema, read_plan, write_answer
from shared.plan.policy import Objective, policy_schema
from shared.plan.problem import Problem
from shared.plan.problem_file import MAX_FILE_BYTES, InvalidDocumentError, problem_schema, read_problem
from shared.plan.simulation import simulate as run_simulation
from shared.plan.trace import chrome_trace

EXIT_WRONG_INPUT: Final = 2
EXIT_INFEASIBLE: Final = 3


class SchemaKind(StrEnum):
    """The documents that have a schema."""

    PROBLEM = "problem"
    PLAN = "plan"
    POLICY = "policy"
    BUS = "bus"


class ArrivalKind(StrEnum):
    """How requests arrive."""

    BURST = "burst"
    PERIODIC = "periodic"
    POISSON = "poisson"


ProblemArgument = Annotated[Path | None, typer.Argument(help="The problem file (JSON); - reads standard input.")]
StrategyOption = Annotated[str | None, typer.Option("--strategy", help="Overrides the policy's strategy.")]
ObjectiveOption = Annotated[Objective | None, typer.Option("--objective", help="Overrides the policy's objective.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, and nothing else.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of all randomness.")]
BudgetOption = Annotated[
    float, typer.Option("--time-budget-s", min=0.0, max=3600.0, help="Roughly how long a search may last.")
]


def plan(
    problem_file: ProblemArgument = None,
    strategy: StrategyOption = None,
    objective: ObjectiveOption = None,
    as_json: JsonOption = False,
    list_strategies: Annotated[bool, typer.Option("--list-strategies", help="Show every strategy and stop.")] = False,
    seed: SeedOption = 0,
    time_budget_s: BudgetOption = 1.0,
) -> None:
    """Find the best cut, placement and encoding for a PROBLEM file.

    Prints the route and where the time goes, or with --json the answer that programs read. Exit status: 0 solved,
    2 the file is wrong (one line per fault on standard error, with its JSON path), 3 no plan keeps the constraints.

    \b
    segue plan problem.json
    segue plan problem.json --strategy neurosurgeon --json
    segue plan problem.json --objective throughput
    segue plan --list-strategies
    """
    if list_strategies:
        found = tuple(strategies().values())
        if as_json:
            _print_json([{"name": s.name, "description": s.description, "citation": s.citation} for s in found])
        else:
            output().print(strategies_table(found))
        return
    problem = load_problem(problem_file, strategy, objective)
    answer = solve_timed(problem, problem.policy.strategy, seed, time_budget_s)
    if as_json:
        sys.stdout.write(write_answer(answer) + "\n")
    elif isinstance(answer, Plan):
        show_plan(problem, answer)
    if isinstance(answer, Infeasible):
        if not as_json:
            output().print(reasons_table(answer))
        raise typer.Exit(EXIT_INFEASIBLE)


def explain(
    problem_file: ProblemArgument = None,
    stream: Annotated[
        str | None, typer.Option("--stream", "-s", help="A stream of the running fleet instead of a file.")
    ] = None,
    objective: ObjectiveOption = None,
    as_json: JsonOption = False,
    plot: PlotOption = None,
    seed: SeedOption = 0,
    time_budget_s: BudgetOption = 0.5,
    timeout_s: Timeout = 10.0,
    broker: Broker = DEFAULT_BROKER,
) -> None:
    """Compare every strategy on a PROBLEM file, or on a running stream, and say what would change the decision.

    Shows each strategy's cost, its gap to the best proved bound, its time to plan and its route; which constraints the
    best plan pays for; and from which bandwidth or load on another route would be the fastest. Of a running stream the
    problem is the planner's at this moment, and its last reroutes are told as well.

    \b
    segue explain problem.json
    segue explain --stream camera --broker mqtt://localhost:1883
    segue explain problem.json --objective energy --json
    segue explain problem.json --plot decision.png
    """
    check_plot(plot)
    live = None if stream is None else running_stream(stream, settings(broker), timeout_s)
    if live is not None and problem_file is not None:
        raise _wrong_input("give a problem file or --stream, not both")
    problem = load_problem(problem_file, None, objective) if live is None else live_problem(live, objective)
    answers = {name: solve_timed(problem, name, seed, time_budget_s) for name in strategies()}
    best = answers["auto"]
    binding = binding_constraints(problem, best, time_budget_s) if isinstance(best, Plan) else ()
    overturning = {stream.name: changes(problem, stream) for stream in problem.streams}
    if plot is not None:
        save_plot(plot, problem, answers, seed)
    if as_json:
        told = {} if live is None else live_values(live)
        _print_json({**told, **comparison_values(answers), **decision_values(binding, overturning)})
    else:
        console = output()
        console.print(comparison_table(answers))
        for table in decision_tables(binding, overturning):
            console.print(table)
        if live is not None:
            for line in reroute_lines(live):
                console.print(line, soft_wrap=True, markup=False, highlight=False)
    if isinstance(best, Infeasible):
        if not as_json:
            output().print(reasons_table(best))
        raise typer.Exit(EXIT_INFEASIBLE)


def simulate(
    problem_file: ProblemArgument = None,
    plan_file: Annotated[Path | None, typer.Option("--plan", help="An answer of `segue plan --json` to run.")] = None,
    strategy: StrategyOption = None,
    objective: ObjectiveOption = None,
    arrivals: Annotated[ArrivalKind, typer.Option("--arrivals", help="How requests arrive.")] = ArrivalKind.BURST,
    rate_hz: Annotated[
        float | None, typer.Option("--rate-hz", min=1e-6, help="Requests per second; default: each stream's own rate.")
    ] = None,
    requests: Annotated[
        int | None, typer.Option("--requests", min=1, max=1_000_000, help="Requests per stream; default: its jobs.")
    ] = None,
    quantum_ms: Annotated[
        float | None, typer.Option("--quantum-ms", min=1e-6, help="Slot of round robin; default: infinitely small.")
    ] = None,
    background: Annotated[
        list[str] | None, typer.Option("--background", help="DEVICE=N endless processes beside the work; repeatable.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write a trace for Perfetto or chrome://tracing.")
    ] = None,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
    time_budget_s: BudgetOption = 1.0,
) -> None:
    """Run a plan for a PROBLEM file event by event, with queues and shared links.

    Solves the problem first, unless --plan names an answer. Prints latency percentiles, throughput, and how busy every
    device and link was.

    \b
    segue simulate problem.json --requests 100
    segue simulate problem.json --arrivals poisson --rate-hz 12 --requests 1000 --trace trace.json
    segue simulate problem.json --plan answer.json --background server=2
    """
    problem = load_problem(problem_file, strategy, objective)
    answer = _planned(problem, plan_file, seed, time_budget_s)
    if isinstance(answer, Infeasible):
        if as_json:
            sys.stdout.write(write_answer(answer) + "\n")
        else:
            output().print(reasons_table(answer))
        raise typer.Exit(EXIT_INFEASIBLE)
    rules = Rules(answer.disciplines, quantum_ms, _background(problem, background or []))
    kinds = {stream.name: _arrivals(arrivals, rate_hz or stream.rate_hz, stream.name) for stream in problem.streams}
    timeline = run_simulation(problem, answer, seed=seed, arrivals=kinds, requests=requests, rules=rules)
    if trace is not None:
        try:
            trace.write_text(json.dumps(chrome_trace(timeline)))
        except OSError as exc:
            raise _wrong_input(f"{trace}: {exc.strerror or exc}") from exc
    if as_json:
        _print_json({"strategy": answer.strategy, **simulation_values(timeline)})
    else:
        for table in simulation_tables(answer, timeline):
            output().print(table)


def schema(kind: Annotated[SchemaKind, typer.Argument(help="Which document.")] = SchemaKind.PROBLEM) -> None:
    """Print the JSON Schema of problem files, answers or policies, or the AsyncAPI document of the bus.

    \b
    segue schema problem > problem.schema.json
    """
    schemas = {
        SchemaKind.PROBLEM: problem_schema,
        SchemaKind.PLAN: plan_schema,
        SchemaKind.POLICY: policy_schema,
        SchemaKind.BUS: bus_document,
    }
    _print_json(schemas[kind]())


def load_problem(path: Path | None, strategy: str | None = None, objective: Objective | None = None) -> Problem:
    """Read a problem file and apply what the command line overrides; faults end the command with status 2."""
    names = strategies()
    if path is None:
        raise _wrong_input("no problem file given; try --help")
    if strategy is not None and strategy not in names:
        raise _wrong_input(f"--strategy: there is no strategy {strategy}; known: {', '.join(sorted(names))}")
    try:
        problem = read_problem(_read(path), strategies=names)
    except InvalidDocumentError as exc:
        raise _wrong_input(*(str(fault) for fault in exc.faults)) from exc
    policy = problem.policy
    policy = replace(policy, strategy=strategy or policy.strategy, objective=objective or policy.objective)
    return replace(problem, policy=policy)


def solve_timed(problem: Problem, strategy: str, seed: int, time_budget_s: float) -> Plan | Infeasible:
    """Solve with the named strategy, and note how long it took."""
    started_s = time.perf_counter()
    with _solver_chatter_on_stderr():
        answer = strategies()[strategy].solve(problem, seed=seed, time_budget_s=time_budget_s)
    return replace(answer, solve_ms=(time.perf_counter() - started_s) * 1000)


@contextmanager
def _solver_chatter_on_stderr() -> Iterator[None]:
    """Keep standard output for the answer: the solver's library prints to it past Python."""
    sys.stdout.flush()
    library = ctypes.CDLL(None)
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        library.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _planned(problem: Problem, plan_file: Path | None, seed: int, time_budget_s: float) -> Plan | Infeasible:
    """Return the plan of the file, or solve the problem."""
    if plan_file is None:
        return solve_timed(problem, problem.policy.strategy, seed, time_budget_s)
    try:
        answer = read_plan(_read(plan_file))
    except InvalidDocumentError as exc:
        raise _wrong_input(*(f"{plan_file}: {fault}" for fault in exc.faults)) from exc
    faults = _misfits(problem, answer)
    if faults:
        raise _wrong_input(*(f"{plan_file}: {fault}" for fault in faults))
    return answer


def _misfits(problem: Problem, answer: Plan) -> list[str]:
    """Return why a plan cannot run on this problem."""
    faults: list[str] = []
    names = {stream.name for stream in problem.streams}
    faults += [f"$.streams.{name}: the problem has no such stream" for name in answer.streams if name not in names]
    for name, stream_plan in answer.streams.items():
        if name not in names:
            continue
        blocks = len(problem.models[problem.stream(name).model].blocks)
        for index, route in enumerate(stream_plan.routes):
            path = f"$.streams.{name}.routes[{index}]"
            bounds = [0, *(stop for stage in route.stages for stop in (stage.start, stage.stop)), blocks]
            if bounds[::2] != bounds[1::2] or any(stage.start >= stage.stop for stage in route.stages):
                faults.append(f"{path}: its stages do not run the blocks [0, {blocks}) in order")
            if any(device not in problem.devices for device in route.devices):
                faults.append(f"{path}: it uses a device that the problem does not have")
            if any(len(stage.tiles) != 1 for stage in route.stages):
                faults.append(f"{path}: tiled stages cannot be simulated here")
    return faults or [violation.message for violation in violations(CostModel(problem), answer.streams)]


def _arrivals(kind: ArrivalKind, rate_hz: float | None, stream: str) -> Arrivals:
    if kind is ArrivalKind.BURST:
        return AllAtOnce()
    if rate_hz is None:
        raise _wrong_input(f"stream {stream} has no rate_hz: give --rate-hz")
    return Periodic(rate_hz) if kind is ArrivalKind.PERIODIC else Poisson(rate_hz)


def _background(problem: Problem, entries: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in entries:
        device, _, number = entry.partition("=")
        if device not in problem.devices or not number.isdigit():
            raise _wrong_input(f"--background {entry}: expected DEVICE=N with a device of the problem")
        found[device] = int(number)
    return found


def _read(path: Path) -> bytes:
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        with path.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise _wrong_input(f"{path}: {exc.strerror or exc}") from exc


def _wrong_input(*lines: str) -> typer.Exit:
    for line in lines:
        sys.stderr.write(line + "\n")
    return typer.Exit(EXIT_WRONG_INPUT)


def _print_json(values: object) -> None:
    sys.stdout.write(json.dumps(values, indent=1, allow_nan=False) + "\n")
