"""Tensors that cross a cut of a model, and the encodings in which they may be sent."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from planning.problem.plan import RAW
from planning.problem.problem import CodecProfile, Model
from shared.policy import CodecMode, Policy

# Encodings that the policy's ``int8`` allows.
INTEGER_BASES: Final = frozenset({"int8", "uint8", "sparse8"})
# Encodings after which tensors are equal bit for bit.
LOSSLESS_BASES: Final = frozenset({"raw", "lossless", "zstd", "lz4", "deflate", "zlib", "blosc"})


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding of all tensors that cross a cut; times are those of a device of codec speed 1.

    ``relative_error`` and ``top1_agreement`` are the effect on the model's output; None if it was not measured.
    """

    codec: str
    size_bytes: float
    encode_ms: float = 0.0
    decode_ms: float = 0.0
    relative_error: float | None = 0.0
    top1_agreement: float | None = 1.0

    @property
    def base(self) -> str:
        """The name up to the first ``-``, ``+``, ``_``, ``.`` or ``:``."""
        return re.split(r"[-+_.:]", self.codec, maxsplit=1)[0]

    @property
    def is_lossless(self) -> bool:
        """True if tensors are equal bit for bit after decoding, by the encoding's name."""
        return self.base in LOSSLESS_BASES


def crossing_blocks(model: Model, cut: int) -> tuple[tuple[int, float], ...]:
    """Return ``(block, bytes)`` of every tensor that crosses ``cut``: made before it, and read at or after it.

    The model's input counts as block -1. The model's results cross the last cut. A tensor with several readers crosses
    once.
    """
    if cut == 0:
        return ((-1, model.input_bytes),)
    if model.edges is None:
        return ((cut - 1, model.blocks[cut - 1].output_bytes),)
    if cut == len(model.blocks):
        inner = {source for source, _, _ in model.edges}
        return tuple((index, block.output_bytes) for index, block in enumerate(model.blocks) if index not in inner)
    crossing: dict[int, float] = {}
    for source, target, size_bytes in model.edges:
        if source < cut <= target:
            crossing[source] = max(crossing.get(source, 0.0), size_bytes)
    # A block that reads no other block reads the model's input, which then crosses too.
    fed = {target for _, target, _ in model.edges}
    if any(index not in fed for index in range(cut, len(model.blocks))):
        crossing[-1] = model.input_bytes
    return tuple(sorted(crossing.items()))


def encodings(model: Model, cut: int) -> tuple[Encoding, ...]:
    """Return raw, and every encoding that all tensors across ``cut`` offer; the input offers none.

    Sizes and times add up. Effects on the output are measured for one tensor at a time. Their joint effect is estimated
    by sums: of the errors, and of the shares of inputs that lose their best class.
    """
    crossing = crossing_blocks(model, cut)
    offered = [Encoding(RAW, sum(size_bytes for _, size_bytes in crossing))]
    if any(block < 0 for block, _ in crossing):
        return tuple(offered)
    offers = [model.blocks[block].codecs for block, _ in crossing]
    for codec in offers[0] if offers else ():
        if codec == RAW or not all(codec in offer for offer in offers):
            continue
        profiles = [offer[codec] for offer in offers]
        offered.append(
            Encoding(
                codec,
                sum(profile.size_bytes for profile in profiles),
                sum(profile.encode_ms for profile in profiles),
                sum(profile.decode_ms for profile in profiles),
                _joint_error(profiles),
                _joint_agreement(profiles),
            )
        )
    return tuple(offered)


def _joint_error(profiles: Sequence[CodecProfile]) -> float | None:
    errors = [profile.relative_error for profile in profiles if profile.relative_error is not None]
    return sum(errors) if len(errors) == len(profiles) else None


def _joint_agreement(profiles: Sequence[CodecProfile]) -> float | None:
    lost = [1 - profile.top1_agreement for profile in profiles if profile.top1_agreement is not None]
    return max(0.0, 1 - sum(lost)) if len(lost) == len(profiles) else None


def allowed_encodings(model: Model, cut: int, policy: Policy) -> tuple[Encoding, ...]:
    """Return the encodings that the policy allows at ``cut``, raw first if it is allowed.

    A policy that names an encoding demands it wherever it is offered. Elsewhere tensors are sent raw.
    """
    offered = encodings(model, cut)
    allowed = tuple(encoding for encoding in offered if permits(policy, encoding))
    return allowed or offered[:1]


def permits(policy: Policy, encoding: Encoding) -> bool:
    """Return whether the policy allows an encoding, wherever it is offered."""
    match policy.codec:
        case CodecMode.LOSSLESS:
            return encoding.is_lossless
        case CodecMode.AUTO:
            return encoding.is_lossless or _within_bounds(encoding, policy)
        case CodecMode.INT8:
            return encoding.base in INTEGER_BASES
        case name:
            return name in (encoding.codec, encoding.base)


def _within_bounds(encoding: Encoding, policy: Policy) -> bool:
    if policy.max_relative_error is not None:
        error = encoding.relative_error
        if error is None or error > policy.max_relative_error:
            return False
    if policy.min_top1_agreement is not None:
        agreement = encoding.top1_agreement
        return agreement is not None and agreement >= policy.min_top1_agreement
    return True
