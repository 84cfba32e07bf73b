"""Division of a model into groups of blocks that a device can hold, for measuring."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.messages.devices import BlockRefusal
from shared.messages.models import ManifestBlock
from shared.segment_memory import segment_memory_bytes


@dataclass(frozen=True, slots=True)
class ProfileGroups:
    """Groups of consecutive blocks `[start, stop)` that fit into memory, and the blocks that do not."""

    groups: tuple[tuple[int, int], ...]
    refusals: tuple[BlockRefusal, ...]


def group_blocks(blocks: Sequence[ManifestBlock], limit_bytes: int | None) -> ProfileGroups:
    """Return the largest groups of consecutive blocks that fit into memory.

    Args:
        blocks: of the manifest; block 0 is `prepare`, which is in no group.
        limit_bytes: memory for segments; None for no bound.
    """
    groups: list[tuple[int, int]] = []
    # Blocks that do not fit, each row of neighbours with the memory that the largest one needs.
    refused: list[tuple[int, int, int]] = []
    start = 1
    for index in range(1, len(blocks)):
        needed_bytes = memory_of(blocks, index, index + 1)
        if limit_bytes is not None and needed_bytes > limit_bytes:
            if refused and refused[-1][1] == index:
                start_refused, _, most_bytes = refused.pop()
                refused.append((start_refused, index + 1, max(most_bytes, needed_bytes)))
            else:
                refused.append((index, index + 1, needed_bytes))
            groups += [(start, index)] if start < index else []
            start = index + 1
        elif limit_bytes is not None and memory_of(blocks, start, index + 1) > limit_bytes:
            groups.append((start, index))
            start = index
    groups += [(start, len(blocks))] if start < len(blocks) else []
    return ProfileGroups(tuple(groups), tuple(_refusal(*row, limit_bytes or 0) for row in refused))


def _refusal(start: int, stop: int, needed_bytes: int, limit_bytes: int) -> BlockRefusal:
    each = "" if stop - start == 1 else " for the largest of them"
    reason = f"{_mib(needed_bytes)} are needed{each} and {_mib(limit_bytes)} are allowed for segments"
    return BlockRefusal(start=start, stop=stop, reason=reason)


def memory_of(blocks: Sequence[ManifestBlock], start: int, stop: int) -> int:
    """Return the memory of blocks `[start, stop)` as one segment."""
    chosen = blocks[start:stop]
    return segment_memory_bytes([block.parameter_bytes for block in chosen], [block.working_bytes for block in chosen])


def merge_refusals(refusals: Sequence[BlockRefusal]) -> tuple[BlockRefusal, ...]:
    """Return the refusals in the order of their blocks; neighbours with the same reason become one."""
    merged: list[BlockRefusal] = []
    for refusal in sorted(refusals, key=lambda each: each.start):
        if merged and merged[-1].stop == refusal.start and merged[-1].reason == refusal.reason:
            merged[-1] = merged[-1].model_copy(update={"stop": refusal.stop})
        else:
            merged.append(refusal)
    return tuple(merged)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
