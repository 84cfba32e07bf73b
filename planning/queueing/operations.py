"""Operations of a request: computings and sendings with their order and durations."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Work(StrEnum):
    """The two kinds of work of a device. They overlap, but a device does one of each kind at a time."""

    COMPUTE = "compute"
    SEND = "send"


# A device's processor, or its sending.
Resource = tuple[str, Work]
# What does one operation at a time: a resource, or of a device with separate links its sending to one receiver.
ServerKey = tuple[str, Work, str | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """A piece of a request that keeps one resource of one device busy.

    Attributes:
        work: computing or sending.
        device: the device that computes or sends.
        duration_ms: how long it takes.
        stage: the stage computed, or whose output is sent. It is -1 for the input, and the number of stages for
            decoding at the sink.
        target: the receiver of a sending.
        size_bytes: size of a sending.
        latency_ms: the part of ``duration_ms`` that is the link's latency and comes first.
        needs: places of the request's operations that must have ended before; None means the one before it.
        rows: rows ``[top, bottom)`` of the stage's output that a tile makes or that are sent; None means all.
        own_link: whether a sending does not wait for those over other links (`Device.separate_links`).
    """

    work: Work
    device: str
    duration_ms: float
    stage: int
    target: str | None = None
    size_bytes: float = 0.0
    latency_ms: float = 0.0
    needs: tuple[int, ...] | None = None
    rows: tuple[int, int] | None = None
    own_link: bool = False

    @property
    def resource(self) -> Resource:
        """The processor or the sending that it keeps busy."""
        return self.device, self.work

    @property
    def server(self) -> ServerKey:
        """The server whose other operations it waits for."""
        return self.device, self.work, self.target if self.own_link else None


class OperationGraph:
    """The dependencies of a request's operations that are no chain.

    Attributes:
        needs: number of operations that each waits for.
        followers: the operations that wait for each.
    """

    __slots__ = ("followers", "needs")

    def __init__(self, operations: Sequence[Operation]) -> None:
        """Index the operations.

        Raises:
            ValueError: if an operation needs one that does not come before it.
        """
        self.needs = [0] * len(operations)
        self.followers: list[list[int]] = [[] for _ in operations]
        for place, operation in enumerate(operations):
            before = operation.needs
            if before is None:
                before = (place - 1,) if place else ()
            self.needs[place] = len(before)
            for other in before:
                if not 0 <= other < place:
                    raise ValueError(f"operation {place} needs operation {other}, which does not come before it")
                self.followers[other].append(place)


def is_chain(operations: Sequence[Operation]) -> bool:
    """Return whether each operation waits for the one before it."""
    return all(operation.needs is None for operation in operations)
