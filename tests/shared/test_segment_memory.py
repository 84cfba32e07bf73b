from hypothesis import given
from hypothesis import strategies as st

from shared.segment_memory import segment_memory_bytes

BLOCKS = st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=20)


def test_parameters_add_up_and_the_largest_activation_counts_once() -> None:
    assert segment_memory_bytes([10, 20, 0], [5, 300, 40]) == 330


def test_nothing_takes_nothing() -> None:
    assert segment_memory_bytes([], []) == 0


@given(BLOCKS, BLOCKS)
def test_two_segments_together_take_no_more_than_each_alone_and_share_the_activation(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    def need(blocks: list[tuple[int, int]]) -> int:
        return segment_memory_bytes([held for held, _ in blocks], [working for _, working in blocks])

    smaller = min(max((working for _, working in blocks), default=0) for blocks in (first, second))
    assert need(first + second) == need(first) + need(second) - smaller
