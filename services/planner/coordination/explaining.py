"""Answers to those who ask what a stream's problem is at this moment. Pure."""

from planning.files.problem_file import write_problem
from planning.problem.problem import Problem
from services.planner.coordination.stream_record import StreamRecord
from services.planner.problems.readiness import Waiting
from shared.messages.explanations import Explanation, Question

MAX_PROBLEM_BYTES = 4 * 1024 * 1024
"""A larger problem is not sent; messages have twice as much at most."""


def explain(question: Question, record: StreamRecord | None, problem: Problem | Waiting | None) -> Explanation:
    """Return the answer to a question.

    Args:
        question: names the stream and the asker.
        record: what is kept of the stream; None if it was never heard of.
        problem: its present problem, which is that of all streams it is planned together with, or what it waits for;
            None if it is not declared.
    """
    answer = Explanation(stream=question.stream, asker=question.asker)
    if record is not None:
        epoch = 0 if record.epochs.committed is None else record.epochs.committed.epoch
        answer = answer.model_copy(update={"epoch": epoch, "reroutes": record.reroutes})
    if problem is None:
        return answer.model_copy(update={"reasons": (f"there is no stream {question.stream}",)})
    if isinstance(problem, Waiting):
        return answer.model_copy(update={"reasons": problem.reasons})
    text = write_problem(problem)
    size_bytes = len(text.encode())
    if size_bytes > MAX_PROBLEM_BYTES:
        reason = f"the problem has {size_bytes} bytes, more than may be sent ({MAX_PROBLEM_BYTES})"
        return answer.model_copy(update={"reasons": (reason,)})
    return answer.model_copy(update={"problem": text})
