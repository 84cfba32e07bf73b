"""The policy of a stream: objective, constraints and strategy."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from shared.fields import DOCUMENT, CodecChoice, Count, Flag, Index, Name, NonNegative, Positive, RouteText, Share
from shared.transport_mode import TransportMode


class Objective(StrEnum):
    """The quantity that a plan minimises (throughput: maximises)."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    ENERGY = "energy"
    MAKESPAN = "makespan"
    DEADLINE = "deadline"
    TOTAL_DELAY = "total_delay"
    DELAY_VARIANCE = "delay_variance"


class CodecMode(StrEnum):
    """Choice of the encodings of feature maps, besides names of encodings.

    ``lossless`` allows raw and losslessly compressed tensors; ``auto`` leaves the choice to the planner, within
    ``min_top1_agreement`` and ``max_relative_error``. Any other text names an encoding that is used wherever a block
    offers it. The text is a whole name (``uint8+zstd``), or the start of several names (``uint8``, with zstd or
    without). ``int8`` means the encodings in integers of 8 bits, whatever they are called.
    """

    LOSSLESS = "lossless"
    FLOAT16 = "float16"
    INT8 = "int8"
    AUTO = "auto"


class QueueDiscipline(StrEnum):
    """The order in which a device computes what waits for it."""

    FIFO = "fifo"
    SHORTEST_JOB_FIRST = "shortest_job_first"
    ROUND_ROBIN = "round_robin"
    EARLIEST_DEADLINE_FIRST = "earliest_deadline_first"


@dataclass(frozen=True, slots=True)
class DeviceRule:
    """The devices that may compute for a stream: those in ``allow`` that are not in ``deny``. None allows all."""

    __pydantic_config__ = DOCUMENT

    allow: tuple[Name, ...] | None = None
    deny: tuple[Name, ...] = ()

    def permits(self, device: str) -> bool:
        """Return whether ``device`` may compute."""
        return (self.allow is None or device in self.allow) and device not in self.deny


@dataclass(frozen=True, slots=True)
class Policy:
    """The user's requirements for a stream: objective, constraints and strategy.

    Attributes:
        objective: what is optimised.
        strategy: name of the algorithm; ``auto`` picks one.
        route: the route that strategy ``pinned`` takes, as text (`planning.problem.route_reading`).
        deadline_ms: largest latency of a request; None for no bound.
        devices: which devices may compute.
        raw_input_stays_on_source: the first block must run on the source device.
        max_devices: largest number of devices that compute for one stream.
        codec: which encodings feature maps may travel in: `CodecMode`, or the name of one.
        min_top1_agreement: in mode ``auto``, the share of calibration inputs that must have kept their best class.
        max_relative_error: in mode ``auto``, the largest relative error of the output that an encoding may have been
            measured with. Lossless encodings are always within the bounds, others only if they were measured.
        min_gain: smallest relative gain that is worth a reroute.
        cooldown_ms: shortest time between two reroutes.
        queue: the order in which devices compute what waits for them.
        max_in_flight: bound of the requests of a stream that are under way.
        retry_limit: how often a lost request is tried again.
        transport: which transports feature maps may take; None leaves it to the settings of each device.
    """

    __pydantic_config__ = DOCUMENT

    objective: Objective = Objective.LATENCY
    strategy: Name = "auto"
    deadline_ms: Positive | None = None
    devices: DeviceRule = DeviceRule()
    raw_input_stays_on_source: Flag = False
    max_devices: Count | None = None
    codec: CodecChoice = CodecMode.AUTO
    min_top1_agreement: Share | None = None
    max_relative_error: NonNegative | None = None
    min_gain: Share = 0.05
    cooldown_ms: NonNegative = 2000.0
    queue: QueueDiscipline = QueueDiscipline.FIFO
    max_in_flight: Count = 8
    retry_limit: Index = 3
    transport: TransportMode | None = None
    route: RouteText | None = None


def read_policy(document: str | bytes) -> Policy:
    """Read a policy from its JSON text.

    Raises:
        pydantic.ValidationError: with one error per fault; unknown keys are faults.
    """
    return _adapter().validate_json(document)


def policy_document(policy: Policy) -> dict[str, Any]:
    """Return the policy as plain JSON values."""
    document: dict[str, Any] = _adapter().dump_python(policy, mode="json")
    return document


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy."""
    return _adapter().json_schema()


@cache
def _adapter() -> TypeAdapter[Policy]:
    """Return the validator, which is made on first use: problem files validate policies with their own."""
    return TypeAdapter(Policy)


__all__ = [
    "CodecMode",
    "DeviceRule",
    "Objective",
    "Policy",
    "QueueDiscipline",
    "policy_document",
    "policy_schema",
    "read_policy",
]
