"""Messages about a stream: declaration, committed plan, status and usage."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from shared.bus import topics
from shared.messages.base import Message, ModelId, Name, Part


class StreamDeclaration(Message):
    """A stream of requests (`streams/{stream}`, retained). An empty `model` withdraws it."""

    TOPIC: ClassVar = topics.stream

    stream: Name
    model: str
    """SHA-256 of the file, or an alias: the manifest's name."""
    source: Name
    sink: Name | None = None
    rate_hz: Annotated[float, Field(gt=0)] | None = None
    jobs: Annotated[int, Field(gt=0)] = 1
    live: bool = False
    """Drop older frames instead of queueing them when too many are in flight."""


class PlanStage(Part):
    """Blocks `[start, stop)` on one device. `codec` encodes the output that it sends."""

    start: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(gt=0)]
    device: Name
    codec: str = "raw"


class PlanRoute(Part):
    """A route with its weight among the stream's routes (of a burst: its number of requests) and predicted latency."""

    stages: tuple[PlanStage, ...]
    weight: Annotated[int, Field(gt=0)] = 1
    predicted_ms: float | None = None


def route_text(route: PlanRoute) -> str:
    """Return a route as text, such as ``pi[0,4) > server[4,9)``."""
    return " > ".join(f"{stage.device}[{stage.start},{stage.stop})" for stage in route.stages)


class CommittedPlan(Message):
    """The plan in force for a stream (`streams/{stream}/plan`, retained)."""

    TOPIC: ClassVar = topics.plan

    stream: Name
    epoch: int
    model: ModelId
    source: Name
    strategy: str
    routes: tuple[PlanRoute, ...]
    queue: str = "fifo"
    """Queue discipline (policy `queue`)."""
    max_in_flight: Annotated[int, Field(gt=0)] = 4
    retry_limit: Annotated[int, Field(ge=0)] = 3
    deadline_ms: float | None = None
    live: bool = False
    jobs: Annotated[int, Field(gt=0)] = 1
    """Requests of a burst. Above 1, the first `weight` requests of a burst take the first of `routes`, and so on. At 1,
    requests are spread over the routes by weight."""
    reason: str = ""
    committed_at_s: float = 0.0
    trigger_at_s: float | None = None
    """Wall-clock time of the message that caused the reroute."""


class StreamPhase(StrEnum):
    """Phase of a stream in the planner."""

    WAITING = "waiting"
    """Waits for its source, its model or profiles: see `reasons`."""
    PLANNING = "planning"
    RUNNING = "running"
    INFEASIBLE = "infeasible"


class StreamStatus(Message):
    """The planner's state of a stream and its policy (`streams/{stream}/status`, retained)."""

    TOPIC: ClassVar = topics.status

    stream: Name
    state: StreamPhase
    reasons: tuple[str, ...] = ()
    """Reasons why it does not run, or overloads of the routes of a stream that runs."""
    epoch: int = 0
    policy_revision: str = ""
    """Revision of the policy that was checked last."""
    policy_accepted: bool = True
    policy_reasons: tuple[str, ...] = ()
    """Reasons for a refusal, or warnings about an accepted policy."""


class StreamUsage(Message):
    """Size and rate of a stream's requests, measured by the source (`streams/{stream}/usage`, retained)."""

    TOPIC: ClassVar = topics.usage

    stream: Name
    input_bytes: Annotated[int, Field(gt=0)]
    """Median bytes of a request."""
    rate_hz: float | None = None
