"""Offline planning from the command line: solve problem files, print schemas."""

import json
import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from services.planner.strategies.registry import strategies
from shared.asyncapi import bus_document
from shared.plan.cost import CostModel
from shared.plan.pipeline import Operation
from shared.plan.plan import RAW, Infeasible, Plan, Route
from shared.plan.plan_file import plan_schema, write_answer
from shared.plan.policy import Objective, policy_schema
from shared.plan.problem import Problem, Stream
from shared.plan.problem_file import MAX_FILE_BYTES, InvalidDocumentError, problem_schema, read_problem

EXIT_WRONG_INPUT: Final = 2
EXIT_INFEASIBLE: Final = 3


class SchemaKind(StrEnum):
    """The documents that have a schema."""

    PROBLEM = "problem"
    PLAN = "plan"
    POLICY = "policy"
    BUS = "bus"


ProblemArgument = Annotated[Path | None, typer.Argument(help="The problem file (JSON); - reads standard input.")]
StrategyOption = Annotated[str | None, typer.Option("--strategy", help="Overrides the policy's strategy.")]
ObjectiveOption = Annotated[Objective | None, typer.Option("--objective", help="Overrides the policy's objective.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly the answer, as JSON.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of all randomness.")]
BudgetOption = Annotated[float, typer.Option("--time-budget-s", min=0.0, help="Roughly how long a search may last.")]


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
        _show_strategies(as_json)
        return
    problem = load_problem(problem_file, strategy, objective)
    answer = solve_timed(problem, problem.policy.strategy, seed, time_budget_s)
    if as_json:
        sys.stdout.write(write_answer(answer) + "\n")
    elif isinstance(answer, Plan):
        _show_plan(problem, answer)
    if isinstance(answer, Infeasible):
        if not as_json:
            Console().print(_reasons_table(answer))
        raise typer.Exit(EXIT_INFEASIBLE)


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
    sys.stdout.write(json.dumps(schemas[kind](), indent=1) + "\n")


def load_problem(path: Path | None, strategy: str | None = None, objective: Objective | None = None) -> Problem:
    """Read a problem file and apply what the command line overrides; faults end the command with status 2."""
    names = strategies()
    if path is None:
        raise _wrong_input("no problem file given; try: segue plan --help")
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
    answer = strategies()[strategy].solve(problem, seed=seed, time_budget_s=time_budget_s)
    return replace(answer, solve_ms=(time.perf_counter() - started_s) * 1000)


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


def _show_strategies(as_json: bool) -> None:
    found = strategies().values()
    if as_json:
        values = [{"name": s.name, "description": s.description, "citation": s.citation} for s in found]
        sys.stdout.write(json.dumps(values, indent=1) + "\n")
        return
    table = Table("strategy", "what it does", "published", title="Strategies")
    for strategy in found:
        table.add_row(strategy.name, strategy.description, strategy.citation)
    Console().print(table)


def _show_plan(problem: Problem, answer: Plan) -> None:
    console, costs = Console(), CostModel(problem)
    for name, stream_plan in answer.streams.items():
        for index, route in enumerate(stream_plan.routes):
            console.print(_route_table(costs, problem.stream(name), route, index, len(stream_plan.routes)))
    predicted = answer.predicted
    rate = "unbounded" if predicted.throughput_hz is None else f"{predicted.throughput_hz:.2f}/s"
    console.print(
        f"latency {predicted.latency_ms:.2f} ms, throughput {rate}, "
        f"energy {predicted.energy_j:.3f} J, makespan {predicted.makespan_ms:.2f} ms"
    )
    if answer.optimal:
        proof = "proved optimal"
    elif answer.lower_bound is None:
        proof = "no bound known"
    else:
        proof = f"no plan costs less than {answer.lower_bound:.4g}"
    console.print(
        f"{answer.strategy} for {answer.objective.value}: cost {answer.cost:.4g}, {proof}, "
        f"planned in {answer.solve_ms or 0.0:.1f} ms"
    )


def _route_table(costs: CostModel, stream: Stream, route: Route, index: int, routes: int) -> Table:
    which = f", route {index + 1} of {routes}" if routes > 1 else ""
    table = Table(title=f"{stream.name}{which}, {route.jobs} job{'s' if route.jobs > 1 else ''}", title_justify="left")
    for column, justify in (("step", "left"), ("where", "left"), ("what", "left"), ("ms", "right"), ("share", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    operations = costs.operations(stream, route)
    total_ms = sum(operation.duration_ms for operation in operations)
    for operation in operations:
        share = operation.duration_ms / total_ms if total_ms else 0.0
        where, what = _step(costs.problem, stream, route, operation)
        table.add_row(operation.work.value, where, what, f"{operation.duration_ms:.2f}", f"{share:.0%}")
    return table


def _step(problem: Problem, stream: Stream, route: Route, operation: Operation) -> tuple[str, str]:
    """Return where an operation happens and what it does, in words."""
    if operation.target is not None:
        codec = RAW if operation.stage < 0 else route.stages[operation.stage].codec
        what = "input" if operation.stage < 0 else codec
        return f"{operation.device} -> {operation.target}", f"{operation.size_bytes:,.0f} bytes, {what}"
    if operation.stage == len(route.stages):
        return operation.device, "decode the result"
    stage = route.stages[operation.stage]
    blocks = problem.models[stream.model].blocks
    names = blocks[stage.start].name
    if stage.stop - stage.start > 1:
        names += f" .. {blocks[stage.stop - 1].name}"
    return operation.device, f"blocks [{stage.start}, {stage.stop}): {names}"


def _reasons_table(answer: Infeasible) -> Table:
    table = Table("constraint", "why", title=f"No plan ({answer.strategy}, {answer.objective.value})")
    for violation in answer.reasons:
        table.add_row(violation.constraint.value, violation.message)
    return table
