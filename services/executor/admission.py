"""Bound of the feature maps on a device."""

import asyncio
from collections.abc import Callable


class Admission:
    """Bounds the feature maps on this device by number and by the total size of their tensors.

    One feature map always fits, whatever its size: otherwise it could never be computed.
    """

    def __init__(self, max_tasks: int, max_bytes: int) -> None:
        """Create an empty admission with these bounds."""
        self._max_tasks = max_tasks
        self._max_bytes = max_bytes
        self._tasks = 0
        self._bytes = 0
        self._waiting = 0
        self._changed = asyncio.Event()

    async def enter(self, size_bytes: int) -> None:
        """Count a feature map; waits while it would exceed a bound."""
        if self.enter_now(size_bytes):
            return
        self._waiting += 1
        try:
            await self._until(lambda: self._has_room(size_bytes))
        finally:
            self._waiting -= 1
        self._tasks += 1
        self._bytes += size_bytes

    def enter_now(self, size_bytes: int) -> bool:
        """Count a feature map and return True, or return False if it has to wait, also for others that wait."""
        if self._waiting or not self._has_room(size_bytes):
            return False
        self._tasks += 1
        self._bytes += size_bytes
        return True

    def leave(self, size_bytes: int) -> None:
        """Uncount a feature map that entered with this size."""
        self._tasks -= 1
        self._bytes -= size_bytes
        self._changed.set()

    async def drain(self) -> None:
        """Wait until no feature map is here."""
        await self._until(lambda: self._tasks == 0)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _has_room(self, size_bytes: int) -> bool:
        if self._tasks == 0:
            return True
        return self._tasks < self._max_tasks and self._bytes + size_bytes <= self._max_bytes
