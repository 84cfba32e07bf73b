"""Offline planning from the command line: solve problem files, compare strategies, print schemas."""

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

from planning.cost.objective import missing_power_warning
from planning.cost.utilisation import overload_warning
from planning.files.json_document import MAX_FILE_BYTES, InvalidDocumentError
from planning.files.plan_file import plan_schema, write_answer
from planning.files.problem_file import problem_schema, read_problem
from planning.files.scenario_file import scenario_schema
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.sensitivity.comparison import binding_constraints, changes
from planning.strategies.registry import known_strategies, strategies
from services.cli.commands.explain_stream import live_problem, live_values, reroute_lines, running_stream
from services.cli.render.console import told
from services.cli.render.plan_tables import (
    comparison_table,
    decision_tables,
    reasons_table,
    show_plan,
    strategies_table,
)
from services.cli.render.plan_values import comparison_values, decision_values
from services.cli.render.plot_option import PlotOption, check_plot, save_plot
from services.cli.support.options import DEFAULT_BROKER, Broker, Timeout, notes, output, settings
from shared.asyncapi import bus_document
from shared.policy import Objective, policy_schema
from shared.suggestions import closest_name

EXIT_WRONG_INPUT: Final = 2
EXIT_INFEASIBLE: Final = 3


class SchemaKind(StrEnum):
    """The documents that have a schema."""

    PROBLEM = "problem"
    PLAN = "plan"
    POLICY = "policy"
    SCENARIO = "scenario"
    BUS = "bus"


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
        found = tuple(known_strategies().values())
        if as_json:
            print_json([{"name": s.name, "description": s.description, "citation": s.citation} for s in found])
        else:
            output().print(strategies_table(found))
        return
    problem = load_problem(problem_file, strategy, objective)
    answer = solve_timed(problem, problem.policy.strategy, seed, time_budget_s)
    if as_json:
        sys.stdout.write(write_answer(answer) + "\n")
    elif isinstance(answer, Plan):
        show_plan(problem, answer)
    _note_overload(problem, answer)
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
    with_variants: Annotated[
        bool, typer.Option("--variants", help="Compare the variants too: as printed, with other starts, ...")
    ] = False,
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
    segue explain problem.json --variants
    """
    check_plot(plot)
    if stream is not None and problem_file is not None:
        raise wrong_input("give a problem file or --stream, not both")
    live = None if stream is None else running_stream(stream, settings(broker), timeout_s)
    if live is None:
        problem = load_problem(problem_file, None, objective)
    else:
        problem = live_problem(live, objective)
        note_doubts(problem)
    compared = known_strategies() if with_variants else strategies()
    answers = {name: solve_timed(problem, name, seed, time_budget_s) for name in compared}
    best = answers["auto"]
    binding = binding_constraints(problem, best, time_budget_s) if isinstance(best, Plan) else ()
    overturning = {stream.name: changes(problem, stream) for stream in problem.streams}
    if plot is not None:
        save_plot(plot, problem, answers, seed)
    if as_json:
        told = {} if live is None else live_values(live)
        print_json({**told, **comparison_values(answers), **decision_values(binding, overturning)})
    else:
        console = output()
        console.print(comparison_table(answers))
        for table in decision_tables(binding, overturning):
            console.print(table)
        if live is not None:
            for line in reroute_lines(live):
                console.print(line, soft_wrap=True, markup=False, highlight=False)
    _note_overload(problem, best)
    if isinstance(best, Infeasible):
        if not as_json:
            output().print(reasons_table(best))
        raise typer.Exit(EXIT_INFEASIBLE)


def schema(kind: Annotated[SchemaKind, typer.Argument(help="Which document.")] = SchemaKind.PROBLEM) -> None:
    """Print the JSON Schema of problem files, answers, policies or scenarios, or the AsyncAPI document of the bus.

    \b
    segue schema problem > problem.schema.json
    """
    schemas = {
        SchemaKind.PROBLEM: problem_schema,
        SchemaKind.PLAN: plan_schema,
        SchemaKind.POLICY: policy_schema,
        SchemaKind.SCENARIO: scenario_schema,
        SchemaKind.BUS: bus_document,
    }
    print_json(schemas[kind]())


def load_problem(path: Path | None, strategy: str | None = None, objective: Objective | None = None) -> Problem:
    """Read a problem file and apply what the command line overrides; faults end the command with status 2."""
    names = known_strategies()
    if path is None:
        raise wrong_input("no problem file given; try --help")
    if strategy is not None and strategy not in names:
        near = closest_name(strategy, names)
        raise wrong_input(f"--strategy: there is no strategy {strategy}{near}; known: {', '.join(sorted(names))}")
    try:
        problem = read_problem(read_bytes(path), strategies=names)
    except InvalidDocumentError as exc:
        raise wrong_input(*(str(fault) for fault in exc.faults)) from exc
    policy = problem.policy
    policy = replace(policy, strategy=strategy or policy.strategy, objective=objective or policy.objective)
    problem = replace(problem, policy=policy)
    note_doubts(problem)
    return problem


def note_doubts(problem: Problem) -> None:
    """Say on standard error what makes the answer worth little, though it is one."""
    doubt = missing_power_warning(problem.policy, problem.devices)
    if doubt is not None:
        notes().print(f"note: {doubt}", soft_wrap=True)


def _note_overload(problem: Problem, answer: Plan | Infeasible) -> None:
    doubt = overload_warning(problem, answer.streams) if isinstance(answer, Plan) else None
    if doubt is not None:
        notes().print(f"note: {doubt}", soft_wrap=True, markup=False)


def solve_timed(problem: Problem, strategy: str, seed: int, time_budget_s: float) -> Plan | Infeasible:
    """Solve with the named strategy, and note how long it took."""
    started_s = time.perf_counter()
    with _solver_chatter_on_stderr():
        answer = known_strategies()[strategy].solve(problem, seed=seed, time_budget_s=time_budget_s)
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


def read_bytes(path: Path) -> bytes:
    """Read a file, or standard input for -; what cannot be read ends the command with status 2."""
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        with path.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise wrong_input(f"{path}: {exc.strerror or exc}") from exc


def wrong_input(*lines: str) -> typer.Exit:
    """Print what is wrong, a line each, on standard error; return what ends the command with status 2."""
    for line in told(lines):
        sys.stderr.write(line + "\n")
    return typer.Exit(EXIT_WRONG_INPUT)


def print_json(values: object) -> None:
    """Print values for programs."""
    sys.stdout.write(json.dumps(values, indent=1, allow_nan=False) + "\n")
