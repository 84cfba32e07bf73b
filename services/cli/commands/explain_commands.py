"""`segue explain`: compare strategies on a problem file or on a running stream's present problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import typer

from planning.files.problem_file import read_problem
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.sensitivity.comparison import Binding, Change, binding_constraints, overturning_changes
from planning.strategies.registry import known_strategies, strategies
from services.cli.render.console import print_json, results_console
from services.cli.render.plan_tables import comparison_table, decision_tables, reasons_table
from services.cli.render.plan_values import comparison_values, decision_values
from services.cli.render.route_text import committed_routes_text
from services.cli.support.command_runner import run_command
from services.cli.support.errors import InfeasibleProblem
from services.cli.support.fleet_operations import ask_planner, declaration_of, look, operator
from services.cli.support.options import (
    Broker,
    Insecure,
    Timeout,
    broker_settings,
    check_stream_name,
    no_such_stream,
)
from services.cli.support.plan_options import BudgetOption, JsonOption, ObjectiveOption, ProblemArgument, SeedOption
from services.cli.support.plot_option import PlotOption, check_plot, save_plot
from services.cli.support.problem_files import (
    DOCUMENT_INDENT,
    SolveOptions,
    load_problem,
    note_missing_power,
    note_overload,
    solve_timed,
    wrong_input,
)
from services.cli.support.transport_advice import transport_text
from shared.bus.settings import BusSettings
from shared.exit_status import ExitStatus
from shared.messages.explanations import Explanation
from shared.policy import Objective

StreamOption = Annotated[
    str | None, typer.Option("--stream", "-s", help="A stream of the running fleet instead of a file.")
]
VariantsOption = Annotated[
    bool, typer.Option("--variants", help="Compare the variants too: as printed, with other starts, ...")
]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The answers of all strategies, and the sensitivity of the best one.

    Attributes:
        answers: by name of the strategy; `auto` is among them.
        binding: the constraints that the best plan pays for.
        overturning: by stream, the changes after which another route is the fastest.
    """

    answers: Mapping[str, Plan | Infeasible]
    binding: Sequence[Binding]
    overturning: Mapping[str, Sequence[Change]]

    @property
    def best(self) -> Plan | Infeasible:
        return self.answers["auto"]


def explain_command(
    problem_file: ProblemArgument = None,
    stream: StreamOption = None,
    objective: ObjectiveOption = None,
    as_json: JsonOption = False,
    plot: PlotOption = None,
    with_variants: VariantsOption = False,
    seed: SeedOption = 0,
    time_budget_s: BudgetOption = 0.5,
    timeout_s: Timeout = 10.0,
    broker: Broker = None,
    insecure: Insecure = False,
) -> None:
    """Compare every strategy on a PROBLEM file, or on a running stream, and show what would change the decision.

    Shows the cost of each strategy, its gap to the best proved bound, its planning time and its route.
    Shows which constraints the best plan pays for, and from which bandwidth or load on another route is the fastest.
    With --stream, the problem is the planner's present one, and the stream's last reroutes are listed as well.

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
    explanation, advised = (
        (None, None) if stream is None else _ask(stream, broker_settings(broker, insecure), timeout_s)
    )
    if explanation is None:
        problem = load_problem(problem_file, None, objective)
    else:
        problem = _problem_of(explanation, objective)
        note_missing_power(problem)
    names = known_strategies() if with_variants else strategies()
    # Without the clock: strategies are compared by equal work, on a busy computer as well.
    options = SolveOptions(seed, time_budget_s, by_clock=False)
    comparison = _compare(problem, tuple(names), options)
    if plot is not None:
        save_plot(plot, problem, comparison.answers, seed)
    if as_json:
        print_json(_values(comparison, explanation, advised), indent=DOCUMENT_INDENT)
    else:
        _show(comparison, explanation)
        if advised is not None:
            results_console().print(f"Transport: {advised}", soft_wrap=True)
    note_overload(problem, comparison.best)
    if isinstance(comparison.best, Infeasible):
        if not as_json:
            results_console().print(reasons_table(comparison.best))
        raise typer.Exit(ExitStatus.INFEASIBLE)


def _compare(problem: Problem, names: Sequence[str], options: SolveOptions) -> _Comparison:
    answers = {name: solve_timed(problem, name, options) for name in names}
    best = answers["auto"]
    return _Comparison(
        answers,
        binding_constraints(problem, best, options.time_budget_s) if isinstance(best, Plan) else (),
        {stream.name: overturning_changes(problem, stream) for stream in problem.streams},
    )


def _values(comparison: _Comparison, explanation: Explanation | None, advised: str | None) -> dict[str, Any]:
    of_stream: dict[str, Any] = {}
    if explanation is not None:
        of_stream = {
            "stream": explanation.stream,
            "epoch": explanation.epoch,
            "transport": advised,
            "notes": list(explanation.notes),
            "reroutes": [reroute.model_dump(mode="json") for reroute in explanation.reroutes],
        }
    return {
        **of_stream,
        **comparison_values(comparison.answers),
        **decision_values(comparison.binding, comparison.overturning),
    }


def _show(comparison: _Comparison, explanation: Explanation | None) -> None:
    console = results_console()
    console.print(comparison_table(comparison.answers))
    for table in decision_tables(comparison.binding, comparison.overturning):
        console.print(table)
    for line in () if explanation is None else (*explanation.notes, *reroute_lines(explanation)):
        console.print(line, soft_wrap=True)


def reroute_lines(explanation: Explanation) -> list[str]:
    """Return the last reroutes of a stream, a line each, the newest last."""
    lines = [f"Stream {explanation.stream} runs epoch {explanation.epoch}. Its last reroutes:"]
    for reroute in explanation.reroutes:
        at = datetime.fromtimestamp(reroute.committed_at_s).strftime("%H:%M:%S")
        before = f"{committed_routes_text(reroute.previous)} => " if reroute.previous else ""
        after = committed_routes_text(reroute.chosen)
        lines.append(f"{at}  epoch {reroute.epoch}: {reroute.reason}; {before}{after}")
    return lines


def _ask(stream: str, broker: BusSettings, timeout_s: float) -> tuple[Explanation, str | None]:
    """Return the planner's present problem of a stream, and how its feature maps travel.

    Raises:
        InputError: the stream is not declared.
        InfeasibleProblem: the planner has no problem for it. The stream waits for something, or the problem is too
            large for a message.
        BusError: the broker or the planner is out of reach.
    """
    check_stream_name(stream)

    async def ask() -> tuple[Explanation, str | None]:
        async with operator(broker) as connection:
            if await declaration_of(connection, stream) is None:
                raise no_such_stream(stream)
            explanation = await ask_planner(connection, stream, timeout_s=timeout_s)
        async with operator(broker) as connection:
            view = await look(connection)
            return explanation, transport_text(view, view.streams[stream]) if stream in view.streams else None

    explanation, advised = run_command(ask)
    if not explanation.problem:
        raise InfeasibleProblem("\n".join(explanation.reasons))
    return explanation, advised


def _problem_of(explanation: Explanation, objective: Objective | None) -> Problem:
    problem = read_problem(explanation.problem)
    if objective is None:
        return problem
    return replace(problem, policy=replace(problem.policy, objective=objective))
