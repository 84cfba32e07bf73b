"""Work side by side: order, bound, and errors."""

import asyncio

import pytest

from shared.side_by_side import side_by_side


async def test_results_have_the_order_of_the_items_and_workers_are_bounded() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    begun: list[int] = []
    two_have_begun = asyncio.Event()

    async def work(number: int) -> int:
        begun.append(number)
        if len(begun) == 2:
            two_have_begun.set()
        if number == 2:
            # The third begins when a worker is free, and ends before the first.
            gates[0].set()
        else:
            await gates[number].wait()
        return 10 * number

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        results = group.create_task(side_by_side(range(3), work, workers=2))
        await two_have_begun.wait()
        assert begun == [0, 1]
        gates[1].set()
    assert results.result() == [0, 10, 20]


async def test_the_first_error_ends_the_others_and_is_no_group() -> None:
    cancelled: list[int] = []

    async def work(number: int) -> None:
        if number == 1:
            raise ValueError("second")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with pytest.raises(ValueError, match="second"):
        async with asyncio.timeout(30):
            await side_by_side(range(2), work, workers=2)
    assert cancelled == [0]
