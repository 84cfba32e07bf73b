"""Questions to the planner about a stream, and its answers."""

from typing import Annotated, ClassVar

from pydantic import Field

from shared.bus import topics
from shared.messages.base import Message, Name
from shared.messages.events import Reroute


class Question(Message):
    """A question for the present problem of a stream (`streams/{stream}/questions`)."""

    TOPIC: ClassVar = topics.questions

    stream: Name
    asker: Name
    """Last level of the topic on which the answer is expected."""


class Explanation(Message):
    """The planner's answer to a question (`streams/{stream}/explanations/{asker}`)."""

    TOPIC: ClassVar = topics.explanations

    stream: Name
    asker: Name
    epoch: int = 0
    """Of the plan in force; 0 if there is none."""
    problem: str = ""
    """The present problem in the format of problem files, JSON; empty if there is none."""
    reasons: tuple[Annotated[str, Field(max_length=4096)], ...] = ()
    """Missing preconditions of the stream, if there is no problem."""
    reroutes: tuple[Reroute, ...] = ()
    """The last reroutes, oldest first."""
