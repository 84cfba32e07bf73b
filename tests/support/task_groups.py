"""Task groups for parts that run until they are cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class _RecordingGroup(asyncio.TaskGroup):
    """A task group that remembers its tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.created: list[asyncio.Task[Any]] = []

    def create_task(self, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task = super().create_task(*args, **kwargs)
        self.created.append(task)
        return task


@asynccontextmanager
async def cancelled_at_the_end() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a task group and cancel its tasks at the end of the block."""
    async with _RecordingGroup() as group:
        yield group
        for task in group.created:
            task.cancel()
