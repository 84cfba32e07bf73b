"""Questions to the planner about a stream, and its answers."""

from typing import Annotated, ClassVar

from pydantic import Field

from shared.bus import topics
from shared.messages.base import MAX_MESSAGE_BYTES, Message
from shared.messages.bounds import EpochNumber, Name, Reasons, at_most
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
    epoch: EpochNumber = 0
    """Of the plan in force; 0 if there is none."""
    problem: Annotated[str, Field(max_length=MAX_MESSAGE_BYTES)] = ""
    """The present problem in the format of problem files, JSON; empty if there is none."""
    reasons: Reasons = ()
    """Missing preconditions of the stream, if there is no problem."""
    notes: Reasons = ()
    """What the problem rests on: whether it has rows for tiles, and where the times of tiles are measured."""
    reroutes: Annotated[tuple[Reroute, ...], at_most(1000)] = ()
    """The last reroutes, oldest first."""
