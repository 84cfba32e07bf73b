"""Budget for the memory of received frames, shared by all connections of a device."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class MemoryBudget:
    """Counts reserved bytes.

    An empty budget grants any size: a frame larger than the limit could otherwise never arrive. Frames have a bound of
    their own.

    Attributes:
        limit_bytes: bound on the reserved bytes.
    """

    limit_bytes: int
    _used_bytes: int = field(default=0, init=False)

    @property
    def used_bytes(self) -> int:
        """Reserved bytes."""
        return self._used_bytes

    def take(self, size_bytes: int) -> bool:
        """Reserve bytes and return True, or return False if they do not fit now."""
        if self._used_bytes and self._used_bytes + size_bytes > self.limit_bytes:
            return False
        self._used_bytes += size_bytes
        return True

    def take_always(self, size_bytes: int) -> None:
        """Reserve the bytes of a small frame, also beyond the limit.

        A small frame that waited would hold up the rest of a large one on its connection, whose memory it waits for.
        The number of small frames has a bound of its own.
        """
        self._used_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Release bytes that were reserved."""
        self._used_bytes -= size_bytes
