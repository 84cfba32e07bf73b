from hypothesis import given
from hypothesis import strategies as st

from services.executor.segments.profile_groups import group_blocks, memory_of, merge_refusals
from shared.messages.devices import BlockRefusal
from shared.messages.models import ManifestBlock

MIB = 2**20


def blocks(*parameter_mib: int) -> list[ManifestBlock]:
    """Return `prepare`, and blocks with these weights."""
    return [
        ManifestBlock(name=f"b{index}", output_bytes=0, parameter_bytes=size * MIB)
        for index, size in enumerate((0, *parameter_mib))
    ]


def test_without_a_bound_all_blocks_are_one_group() -> None:
    assert group_blocks(blocks(1, 2, 3), None).groups == ((1, 4),)
    assert group_blocks(blocks(), None).groups == ()


def test_groups_are_as_large_as_memory_allows() -> None:
    division = group_blocks(blocks(4, 4, 4, 20, 4, 4), 9 * MIB)
    assert division.groups == ((1, 3), (3, 4), (5, 7))
    (refusal,) = division.refusals
    assert (refusal.start, refusal.stop) == (4, 5)
    assert refusal.reason == "20.0 MiB are needed and 9.0 MiB are allowed for segments"


def test_neighbours_that_do_not_fit_are_refused_together() -> None:
    (refusal,) = group_blocks(blocks(4, 20, 30, 4), 9 * MIB).refusals
    assert (refusal.start, refusal.stop) == (2, 4)
    assert refusal.reason == "30.0 MiB are needed for the largest of them and 9.0 MiB are allowed for segments"


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(0, 40))
def test_every_block_is_in_one_group_or_refused(sizes: list[int], limit_mib: int) -> None:
    manifest = blocks(*sizes)
    division = group_blocks(manifest, limit_mib * MIB)
    refused = [(each.start, each.stop) for each in division.refusals]
    covered = sorted((*division.groups, *refused))
    assert [start for start, _ in covered] == [1, *(stop for _, stop in covered)][: len(covered)]
    assert not covered or covered[-1][1] == len(manifest)
    assert all(memory_of(manifest, start, stop) <= limit_mib * MIB for start, stop in division.groups)


def test_neighbours_with_one_reason_become_one() -> None:
    made = [
        BlockRefusal(start=at, stop=at + 1, reason=reason) for at, reason in ((3, "a"), (1, "a"), (2, "a"), (5, "b"))
    ]
    assert [(each.start, each.stop) for each in merge_refusals(made)] == [(1, 4), (5, 6)]
