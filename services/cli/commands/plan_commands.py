"""`segue plan` and `segue schema`: solve problem files, print schemas."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from services.cli.support.plan_options import (
    BudgetOption,
    JsonOption,
    ObjectiveOption,
    ProblemArgument,
    SeedOption,
    StrategyOption,
)

# The functions import the rest: `--help` must load neither the strategies nor their solvers.


class SchemaKind(StrEnum):
    """The documents that have a schema."""

    PROBLEM = "problem"
    PLAN = "plan"
    POLICY = "policy"
    SCENARIO = "scenario"
    BUS = "bus"


def plan_command(
    problem_file: ProblemArgument = None,
    strategy: StrategyOption = None,
    objective: ObjectiveOption = None,
    as_json: JsonOption = False,
    list_strategies: Annotated[bool, typer.Option("--list-strategies", help="Show every strategy and stop.")] = False,
    seed: SeedOption = 0,
    time_budget_s: BudgetOption = 1.0,
) -> None:
    """Find the best cuts, placement and encodings for a PROBLEM file.

    Prints the route and where the time goes. With --json, prints the answer as a document for programs.
    Exit status: 0 solved, 2 the file is wrong, 3 no plan keeps the constraints. Faults of a file are printed on
    standard error, a line each with its JSON path.

    \b
    segue plan problem.json
    segue plan problem.json --strategy neurosurgeon --json
    segue plan problem.json --objective throughput
    segue plan --list-strategies
    """
    from planning.problem.plan import Infeasible, Plan
    from services.cli.render.console import results_console
    from services.cli.render.plan_tables import reasons_table, show_plan
    from services.cli.support.problem_files import SolveOptions, load_problem, note_overload, solve_timed
    from shared.exit_status import ExitStatus

    if list_strategies:
        _list_strategies(as_json)
        return
    problem = load_problem(problem_file, strategy, objective)
    answer = solve_timed(problem, problem.policy.strategy, SolveOptions(seed, time_budget_s))
    if as_json:
        from planning.files.plan_file import write_answer

        sys.stdout.write(write_answer(answer) + "\n")
    elif isinstance(answer, Plan):
        show_plan(results_console(), problem, answer)
    note_overload(problem, answer)
    if isinstance(answer, Infeasible):
        if not as_json:
            results_console().print(reasons_table(answer))
        raise typer.Exit(ExitStatus.INFEASIBLE)


def _list_strategies(as_json: bool) -> None:
    from planning.strategies.registry import known_strategies
    from services.cli.render.console import print_json, results_console
    from services.cli.render.plan_tables import strategies_table
    from services.cli.support.problem_files import DOCUMENT_INDENT

    listed = tuple(known_strategies().values())
    if as_json:
        values = [
            {
                "name": strategy.name,
                "description": strategy.description,
                "citation": strategy.citation,
                "objectives": sorted(objective.value for objective in strategy.traits.objectives),
                "exact": strategy.traits.exact,
                "joint": strategy.traits.joint.value,
            }
            for strategy in listed
        ]
        print_json(values, indent=DOCUMENT_INDENT)
    else:
        results_console().print(strategies_table(listed))


def schema_command(
    kind: Annotated[SchemaKind, typer.Argument(help="Name of the document.")] = SchemaKind.PROBLEM,
) -> None:
    """Print the JSON Schema of a document, or the AsyncAPI document of the bus.

    \b
    segue schema problem > problem.schema.json
    """
    from planning.files.plan_file import plan_schema
    from planning.files.problem_file import problem_schema
    from planning.files.scenario_file import scenario_schema
    from services.cli.render.console import print_json
    from services.cli.support.problem_files import DOCUMENT_INDENT
    from shared.asyncapi import bus_document
    from shared.policy import policy_schema

    schemas = {
        SchemaKind.PROBLEM: problem_schema,
        SchemaKind.PLAN: plan_schema,
        SchemaKind.POLICY: policy_schema,
        SchemaKind.SCENARIO: scenario_schema,
        SchemaKind.BUS: bus_document,
    }
    print_json(schemas[kind](), indent=DOCUMENT_INDENT)
