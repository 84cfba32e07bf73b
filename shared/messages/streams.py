"""Streams: declaration, committed plan, status and usage."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from shared.bus import topics
from shared.messages.base import Message, ModelId, Name, Part


class StreamDeclaration(Message):
    """One flow of requests (`streams/{stream}`, retained). An empty `model` withdraws the stream."""

    TOPIC: ClassVar = topics.stream

    stream: Name
    model: str
    """SHA-256 of the file, or an alias: the manifest's name."""
    source: Name
    sink: Name | None = None
    rate_hz: Annotated[float, Field(gt=0)] | None = None
    jobs: Annotated[int, Field(gt=0)] = 1
    live: bool = False
    """Keep the newest frame instead of waiting when too many are in flight."""


class PlanStage(Part):
    """Blocks `[start, stop)` on one device; `codec` encodes what it sends on."""

    start: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(gt=0)]
    device: Name
    codec: str = "raw"


class PlanRoute(Part):
    """A route with its share of the stream's requests (of a burst: how many take it) and its predicted latency."""

    stages: tuple[PlanStage, ...]
    weight: Annotated[int, Field(gt=0)] = 1
    predicted_ms: float | None = None


def route_text(route: PlanRoute) -> str:
    """Return a route as people read it: ``pi[0,4) > server[4,9)``."""
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
    """Requests of a burst. Above 1 `routes` are in the order in which the source starts them: the first `weight`
    requests of a burst take the first route, and so on. At 1 requests are spread over the routes by weight."""
    reason: str = ""
    committed_at_s: float = 0.0
    trigger_at_s: float | None = None
    """Wall clock of the message that caused the reroute."""


class StreamState(StrEnum):
    """What the planner makes of a stream."""

    WAITING = "waiting"
    """For its source, a model or profiles: `reasons` says which."""
    PLANNING = "planning"
    RUNNING = "running"
    INFEASIBLE = "infeasible"


class StreamStatus(Message):
    """What the planner says of a stream and its policy (`streams/{stream}/status`, retained)."""

    TOPIC: ClassVar = topics.status

    stream: Name
    state: StreamState
    reasons: tuple[str, ...] = ()
    """Why it does not run; of one that runs, what its routes do not keep up with."""
    epoch: int = 0
    policy_revision: str = ""
    """The revision of the policy last judged."""
    policy_accepted: bool = True
    policy_reasons: tuple[str, ...] = ()
    """Why it is refused; of a policy that is accepted, reasons to think again."""


class StreamUsage(Message):
    """What a source sees of its stream (`streams/{stream}/usage`, retained)."""

    TOPIC: ClassVar = topics.usage

    stream: Name
    input_bytes: Annotated[int, Field(gt=0)]
    """Median bytes of a request."""
    rate_hz: float | None = None
