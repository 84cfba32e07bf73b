"""What the planner makes of a running stream at this moment, for `segue explain --stream`."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from planning.files.problem_file import read_problem
from planning.problem.problem import Problem
from services.cli.support.command_runner import run_command
from services.cli.support.errors import InfeasibleProblem
from services.cli.support.operations import ask_planner, declaration_of, operator
from services.cli.testbed.conditions import route_text
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.messages.explanations import Explanation
from shared.policy import Objective
from shared.service_runtime import InputError


def running_stream(stream: str, broker: BusSettings, timeout_s: float) -> Explanation:
    """Ask the planner for a stream's present problem.

    Raises:
        InputError: there is no such stream.
        Infeasible: the planner has no problem to show: the stream waits for something, or the problem is too large.
        BusError: broker or planner are out of reach.
    """
    if not topics.is_name(stream):
        raise InputError(f"{stream!r} is no stream name")

    async def ask() -> Explanation:
        async with operator(broker) as connection:
            if await declaration_of(connection, stream) is None:
                raise InputError(f"there is no stream {stream}; `segue stream list` shows those there are")
            return await ask_planner(connection, stream, timeout_s=timeout_s)

    explanation = run_command(ask)
    if not explanation.problem:
        raise InfeasibleProblem("\n".join(explanation.reasons))
    return explanation


def live_problem(explanation: Explanation, objective: Objective | None) -> Problem:
    """Return the problem, with another objective if one is given."""
    problem = read_problem(explanation.problem)
    if objective is None:
        return problem
    return replace(problem, policy=replace(problem.policy, objective=objective))


def live_values(explanation: Explanation) -> dict[str, Any]:
    """Return what belongs to a running stream as JSON values."""
    return {
        "stream": explanation.stream,
        "epoch": explanation.epoch,
        "reroutes": [reroute.model_dump(mode="json") for reroute in explanation.reroutes],
    }


def reroute_lines(explanation: Explanation) -> list[str]:
    """Return the last reroutes for people, a line each, the newest last."""
    lines = [f"Stream {explanation.stream} runs epoch {explanation.epoch}. Its last reroutes:"]
    for reroute in explanation.reroutes:
        at = datetime.fromtimestamp(reroute.committed_at_s).strftime("%H:%M:%S")
        before = f"{route_text(reroute.previous)} => " if reroute.previous else ""
        lines.append(f"{at}  epoch {reroute.epoch}: {reroute.reason}; {before}{route_text(reroute.chosen)}")
    return lines
