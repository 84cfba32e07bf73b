"""`segue simulate`: a plan for a problem file, event by event, through a scenario of arrivals and changes."""

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.files.json_document import InvalidDocumentError
from planning.files.plan_file import read_plan, write_answer
from planning.files.scenario_file import read_scenario
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem, link_table
from planning.queueing.event_loop import Rules
from planning.simulation.arrivals import AllAtOnce, Arrivals, Periodic, Poisson
from planning.simulation.perfetto_trace import chrome_trace
from planning.simulation.scenario import Change, Scenario
from planning.simulation.simulation import Timeline
from planning.simulation.simulation import simulate as run_simulation
from services.cli.commands.plan_commands import (
    EXIT_INFEASIBLE,
    BudgetOption,
    JsonOption,
    ObjectiveOption,
    ProblemArgument,
    SeedOption,
    StrategyOption,
    load_problem,
    print_json,
    read_bytes,
    solve_timed,
    wrong_input,
)
from services.cli.render.plan_tables import reasons_table, simulation_tables
from services.cli.render.plan_values import simulation_values
from services.cli.render.plot_option import check_plot, save_gantt
from services.cli.support.options import output
from services.cli.support.output_files import check_file


class ArrivalKind(StrEnum):
    """How requests arrive."""

    BURST = "burst"
    PERIODIC = "periodic"
    POISSON = "poisson"


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
        int | None,
        typer.Option("--requests", min=1, max=1_000_000, help="Requests per stream; default: its jobs, or recording."),
    ] = None,
    scenario_file: Annotated[
        Path | None,
        typer.Option("--scenario", help="Changes during the run and recorded arrivals (JSON; segue schema scenario)."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--change",
            help="MS:DEVICE=LOAD_FACTOR or MS:FROM,TO=MBPS or =gone: from that time on; repeatable, beside --scenario.",
        ),
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
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the Gantt chart: .png, .svg, .html.")] = None,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
    time_budget_s: BudgetOption = 1.0,
) -> None:
    """Run a plan for a PROBLEM file event by event, with queues, tiles and shared links.

    Solves the problem first, unless --plan names an answer. Prints latency percentiles, throughput, and how busy every
    device and link was. Loads and bandwidths may change on the way: what is under way goes on at the new rate, the
    plan stays as it is. What is gone stands still until a later change; requests that need it wait.

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
    scenario = _scenario(problem, scenario_file, change or [])
    answer = _planned(problem, plan_file, seed, time_budget_s)
    if isinstance(answer, Infeasible):
        if as_json:
            sys.stdout.write(write_answer(answer) + "\n")
        else:
            output().print(reasons_table(answer))
        raise typer.Exit(EXIT_INFEASIBLE)
    timeline = run_simulation(
        problem,
        answer,
        seed=seed,
        arrivals={
            stream.name: scenario.arrivals.get(stream.name)
            or _arrivals(arrivals, rate_hz or stream.rate_hz, stream.name)
            for stream in problem.streams
        },
        requests=requests,
        rules=Rules(answer.disciplines, quantum_ms, _background(problem, background or [])),
        changes=scenario.changes,
    )
    if trace is not None:
        _write_trace(trace, timeline)
    if plot is not None:
        save_gantt(plot, problem, answer, timeline)
    if as_json:
        print_json({"strategy": answer.strategy, **simulation_values(timeline)})
    else:
        for table in simulation_tables(answer, timeline):
            output().print(table)


def _planned(problem: Problem, plan_file: Path | None, seed: int, time_budget_s: float) -> Plan | Infeasible:
    """Return the plan of the file, or solve the problem."""
    if plan_file is None:
        return solve_timed(problem, problem.policy.strategy, seed, time_budget_s)
    try:
        answer = read_plan(read_bytes(plan_file))
    except InvalidDocumentError as exc:
        raise wrong_input(*(f"{plan_file}: {fault}" for fault in exc.faults)) from exc
    faults = _misfits(problem, answer)
    if faults:
        raise wrong_input(*(f"{plan_file}: {fault}" for fault in faults))
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
    return faults or [violation.message for violation in violations(CostModel(problem), answer.streams)]


def _arrivals(kind: ArrivalKind, rate_hz: float | None, stream: str) -> Arrivals:
    if kind is ArrivalKind.BURST:
        return AllAtOnce()
    if rate_hz is None:
        raise wrong_input(f"stream {stream} has no rate_hz: give --rate-hz")
    return Periodic(rate_hz) if kind is ArrivalKind.PERIODIC else Poisson(rate_hz)


def _background(problem: Problem, entries: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in entries:
        device, _, number = entry.partition("=")
        if device not in problem.devices or not number.isdigit():
            raise wrong_input(f"--background {entry}: expected DEVICE=N with a device of the problem")
        found[device] = int(number)
    return found


def _scenario(problem: Problem, path: Path | None, entries: Sequence[str]) -> Scenario:
    """Return what the file tells, and after it the changes of the command line."""
    found = Scenario()
    if path is not None:
        try:
            found = read_scenario(read_bytes(path), problem)
        except InvalidDocumentError as exc:
            raise wrong_input(*(f"{path}: {fault}" for fault in exc.faults)) from exc
    changes = tuple(_change(problem, entry) for entry in entries)
    return Scenario((*found.changes, *changes), found.arrivals)


def _change(problem: Problem, entry: str) -> Change:
    """Read MS:DEVICE=LOAD_FACTOR or MS:FROM,TO=MBPS, where gone may stand for the number."""
    time_ms, _, rest = entry.partition(":")
    place, _, value = rest.rpartition("=")
    try:
        at_ms, number = float(time_ms), None if value == "gone" else float(value)
    except ValueError as exc:
        shape = "MS:DEVICE=LOAD_FACTOR or MS:FROM,TO=MBPS, or gone for the number"
        raise wrong_input(f"--change {entry}: expected {shape}") from exc
    links = {f"{sender},{receiver}": (sender, receiver) for sender, receiver in link_table(problem.links)}
    values: dict[str, Any] = {"at_ms": at_ms}
    if place in problem.devices:
        values |= {"device": place, **({"gone": True} if number is None else {"load_factor": number})}
    elif place in links:
        sender, receiver = links[place]
        values |= {"from": sender, "to": receiver}
        values |= {"gone": True} if number is None else {"bandwidth_mbps": number}
    else:
        raise wrong_input(f"--change {entry}: {place!r} is no device and no link (FROM,TO) of the problem")
    try:
        return read_scenario(json.dumps({"changes": [values]}), problem).changes[0]
    except InvalidDocumentError as exc:
        raise wrong_input(*(f"--change {entry}: {fault.message}" for fault in exc.faults)) from exc


def _write_trace(path: Path, timeline: Timeline) -> None:
    try:
        path.write_text(json.dumps(chrome_trace(timeline)))
    except OSError as exc:
        raise wrong_input(f"{path}: {exc.strerror or exc}") from exc
