"""Plans, comparisons and simulations as tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from planning.cost.cost_model import CostModel
from planning.problem.plan import RAW, Infeasible, Plan, Route
from planning.problem.problem import Problem, Stream
from planning.queueing.operations import Operation
from planning.strategies.traits import ALL_OBJECTIVES, Joint, Traits
from services.cli.render.plan_values import applies, best_bound, gap, simulation_values
from services.cli.render.route_text import planned_route_text
from shared.policy import Objective

if TYPE_CHECKING:
    # Only annotations: `segue plan` needs neither the sensitivity analysis nor the simulation.
    from planning.sensitivity.comparison import Binding, Change
    from planning.simulation.simulation import Timeline
    from planning.strategies.strategy import Strategy


def show_plan(console: Console, problem: Problem, answer: Plan) -> None:
    """Print the routes of a plan with the time of every step, the predicted figures, and the proved bound."""
    costs = CostModel(problem)
    for name, stream_plan in answer.streams.items():
        for index, route in enumerate(stream_plan.routes):
            console.print(_route_table(costs, problem.stream(name), route, index, len(stream_plan.routes)))
    predicted = answer.predicted
    rate = "unbounded" if predicted.throughput_hz is None else f"{predicted.throughput_hz:.2f}/s"
    console.print(
        f"latency {predicted.latency_ms:.2f} ms, throughput {rate}, "
        f"energy {predicted.energy_j:.3f} J, makespan {predicted.makespan_ms:.2f} ms, "
        f"{predicted.source_share:.0%} of the blocks at the source"
    )
    console.print(
        f"{answer.strategy} for {answer.objective.value}: cost {answer.cost:.4g}, {_proof(answer)}, "
        f"planned in {answer.solve_ms or 0.0:.1f} ms"
    )
    if answer.estimated:
        console.print("times of the burst are estimates: its simulation takes longer than --time-budget-s allows")
    if answer.left_out:
        console.print(f"left out for lack of time (--time-budget-s): {', '.join(answer.left_out)}")


def _proof(answer: Plan) -> str:
    if answer.optimal:
        return "proved optimal"
    if answer.lower_bound is None:
        return "no bound known"
    excess = gap(answer.cost, answer.lower_bound)
    shown = "" if excess is None else f" (gap {excess:.1%})"
    return f"no plan costs less than {answer.lower_bound:.4g}{shown}"


def _route_table(costs: CostModel, stream: Stream, route: Route, index: int, routes: int) -> Table:
    which = f", route {index + 1} of {routes}" if routes > 1 else ""
    table = Table(title=f"{stream.name}{which}, {route.jobs} job{'s' if route.jobs > 1 else ''}", title_justify="left")
    _add_columns(table, step="left", where="left", what="left", ms="right", share="right")
    operations = costs.operations(stream, route)
    total_ms = sum(operation.duration_ms for operation in operations)
    for operation in operations:
        share = operation.duration_ms / total_ms if total_ms else 0.0
        where, what = _step(costs.problem, stream, route, operation)
        table.add_row(operation.work.value, where, what, f"{operation.duration_ms:.2f}", f"{share:.0%}")
    return table


def _step(problem: Problem, stream: Stream, route: Route, operation: Operation) -> tuple[str, str]:
    """Return the place and the description of an operation."""
    # Stage -1 is the source's input; the stage after the last one decodes the result at the sink.
    rows = "" if operation.rows is None else f", rows [{operation.rows[0]}, {operation.rows[1]})"
    if operation.target is not None:
        codec = RAW if operation.stage < 0 else route.stages[operation.stage].codec
        what = "input" if operation.stage < 0 else codec
        return f"{operation.device} -> {operation.target}", f"{operation.size_bytes:,.0f} bytes, {what}{rows}"
    if operation.stage == len(route.stages):
        return operation.device, "decode the result"
    stage = route.stages[operation.stage]
    blocks = problem.models[stream.model].blocks
    names = blocks[stage.start].name
    if stage.stop - stage.start > 1:
        names += f" .. {blocks[stage.stop - 1].name}"
    return operation.device, f"blocks [{stage.start}, {stage.stop}): {names}{rows}"


def reasons_table(answer: Infeasible) -> Table:
    """Return the constraints that no plan keeps, or for want of a proof those of the search that found none."""
    outcome = "No plan" if answer.proved else "No plan found, without a proof that there is none"
    table = Table(title=f"{outcome} ({answer.strategy}, {answer.objective.value})")
    _add_columns(table, constraint="left", why="left")
    for violation in answer.reasons:
        table.add_row(violation.constraint.value, violation.message)
    return table


def strategies_table(strategies: "Sequence[Strategy]") -> Table:
    """Return the description, the traits and the publication of every strategy."""
    table = Table(title="Strategies", show_lines=True)
    for heading in ("strategy", "description, traits, publication"):
        table.add_column(heading, overflow="fold")
    for strategy in strategies:
        details = (
            strategy.description,
            "\n",
            (_traits_text(strategy.traits), "dim"),
            "\n",
            (strategy.citation, "italic"),
        )
        table.add_row(strategy.name, Text.assemble(*details))
    return table


def _traits_text(traits: Traits) -> str:
    objectives = [objective.value for objective in Objective if objective in traits.objectives]
    optimises = "all objectives" if traits.objectives == ALL_OBJECTIVES else ", ".join(objectives) or "no objective"
    joint = {Joint.IN_A_PROBLEM: "joint in files only", Joint.ON_A_FLEET: "joint"}.get(traits.joint)
    return "; ".join(filter(None, (f"optimises {optimises}", "exact" if traits.exact else None, joint)))


def comparison_table(answers: Mapping[str, Plan | Infeasible]) -> Table:
    """Return one row per strategy: cost, gap to the best bound, time to plan, route or reason."""
    objective = next(iter(answers.values())).objective.value
    bound = best_bound(answers)
    title = f"{objective}: " + ("no bound known" if bound is None else f"no plan costs less than {bound:.4g}")
    table = Table(title=title)
    table.add_column("strategy", overflow="fold")
    _add_columns(table, cost="right", gap="right", planned="right", routes="left")
    for name, answer in answers.items():
        planned = f"{answer.solve_ms or 0.0:.1f} ms"
        if isinstance(answer, Infeasible):
            table.add_row(name, "-", "-", planned, answer.reason if applies(answer) else "does not apply")
            continue
        excess = gap(answer.cost, bound)
        shown = "-" if excess is None else "optimal" if answer.optimal else f"{excess:.1%}"
        winner = f" ({answer.strategy})" if answer.strategy != name else ""
        table.add_row(name + winner, f"{answer.cost:.4g}", shown, planned, _routes_text(answer))
    return table


def decision_tables(binding: "Sequence[Binding]", overturning: "Mapping[str, Sequence[Change]]") -> Iterator[Table]:
    """Yield the cost of the binding constraints, and the thresholds beyond which another route is the fastest."""
    if binding:
        table = Table(title="What the constraints cost")
        table.add_column("constraint", overflow="fold")
        table.add_column("cost without it", justify="right", no_wrap=True)
        for entry in binding:
            table.add_row(entry.constraint.value, f"{entry.cost:.4g}")
        yield table
    for stream, entries in overturning.items():
        if not entries:
            continue
        table = Table(title=f"What would change the fastest route of {stream}", show_lines=True)
        _add_columns(table, quantity="left", now="right", becomes="left", route="left")
        for change in entries:
            now = f"{change.value:g} {change.unit}".strip()
            if change.below is not None:
                table.add_row(change.quantity, now, f"below {change.low:.4g}", planned_route_text(change.below))
            if change.above is not None:
                table.add_row(change.quantity, now, f"above {change.high:.4g}", planned_route_text(change.above))
        yield table


def simulation_tables(answer: Plan, timeline: "Timeline") -> Iterator[Table]:
    """Yield the latencies, and the busy time of devices and links."""
    values = simulation_values(timeline)
    table = Table(title=f"{values['requests']} request{'s' if values['requests'] != 1 else ''}, {answer.strategy}")
    _add_columns(table, what="left", value="right")
    rate = values["throughput_hz"]
    for name, latency_ms in values["latency_ms"].items():
        table.add_row(f"latency {name}", _duration(latency_ms))
    table.add_row("throughput", "-" if rate is None else f"{rate:.2f}/s")
    table.add_row("makespan", _duration(values["makespan_ms"]))
    table.add_row("late", f"{values['late']}, by {_duration(values['late_by_ms'])}" if values["late"] else "0")
    if values["unfinished"]:
        table.add_row("never ended", str(values["unfinished"]))
    yield table
    busy = Table(title="How busy")
    _add_columns(busy, who="left", ms="right", share="right")
    for entry in values["devices"]:
        busy.add_row(f"{entry['device']} {entry['work']}", f"{entry['busy_ms']:.1f}", f"{entry['share']:.0%}")
    for entry in values["links"]:
        busy.add_row(f"{entry['from']} -> {entry['to']}", f"{entry['busy_ms']:.1f}", f"{entry['share']:.0%}")
    yield busy


def _duration(time_ms: float | None) -> str:
    return "never" if time_ms is None else f"{time_ms:.2f} ms"


def _routes_text(answer: Plan) -> str:
    lines = []
    for name, stream_plan in answer.streams.items():
        for route in stream_plan.routes:
            jobs = f"{route.jobs} x " if len(stream_plan.routes) > 1 else ""
            prefix = f"{name}: " if len(answer.streams) > 1 else ""
            lines.append(f"{prefix}{jobs}{planned_route_text(route)}")
    return "\n".join(lines)


def _add_columns(table: Table, **columns: JustifyMethod) -> None:
    """Add right-aligned columns of numbers, which do not wrap, and left-aligned columns of words, which do."""
    for name, justify in columns.items():
        table.add_column(name, justify=justify, overflow="fold", no_wrap=justify == "right")
