"""Answers to those who ask for a stream's problem."""

from dataclasses import replace

import pytest

from planning.files.problem_file import read_problem
from services.planner.coordination import explaining
from services.planner.coordination.epochs import Epochs
from services.planner.coordination.explaining import explain
from services.planner.coordination.stream_record import StreamRecord
from services.planner.problems.readiness import Waiting
from shared.messages.base import MAX_MESSAGE_BYTES
from shared.messages.explanations import Question
from tests.support.planner_world import declaration, problem_of, world

QUESTION = Question(stream="camera", asker="me")


def test_the_problem_is_that_of_a_problem_file() -> None:
    problem = problem_of(world(declaration(jobs=3)))
    answer = explain(QUESTION, StreamRecord(Epochs("camera")), problem)
    assert (answer.stream, answer.asker, answer.epoch, answer.reasons) == ("camera", "me", 0, ())
    assert read_problem(answer.problem) == problem


def test_without_a_problem_there_are_reasons() -> None:
    waiting = explain(QUESTION, StreamRecord(Epochs("camera")), Waiting(("a model", "a profile")))
    assert (waiting.problem, waiting.reasons) == ("", ("a model", "a profile"))
    assert explain(QUESTION, None, None).reasons == ("there is no stream camera",)


def test_a_problem_that_fits_in_no_message_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explaining.MAX_PROBLEM_BYTES < MAX_MESSAGE_BYTES
    problem = problem_of(world())
    name, device = next(iter(problem.devices.items()))
    many = {f"{name}{number}": device for number in range(1000)}
    monkeypatch.setattr(explaining, "MAX_PROBLEM_BYTES", 100_000)
    answer = explain(QUESTION, None, replace(problem, devices={**problem.devices, **many}))
    assert answer.problem == ""
    assert "more than may be sent (100000)" in answer.reasons[0]
