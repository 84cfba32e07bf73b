"""Work on many items at a time, with a bound on how many."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from shared.exception_groups import errors_in

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def side_by_side(
    items: Iterable[_Item], work: Callable[[_Item], Awaitable[_Result]], *, workers: int
) -> list[_Result]:
    """Return the result of `work` for each item, in the order of the items.

    Args:
        items: iterated lazily, as earlier items are done.
        work: called for each item. Its first error cancels the other calls, and is raised here.
        workers: largest number of calls at a time.
    """
    # All workers draw from one iterator: each item goes to the next free worker.
    remaining = enumerate(items)
    results: dict[int, _Result] = {}

    async def work_on_remaining() -> None:
        for index, item in remaining:
            results[index] = await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(work_on_remaining(), name=f"{number} side by side")
    except BaseExceptionGroup as error:
        raise errors_in(error)[0] from None
    return [results[index] for index in sorted(results)]
