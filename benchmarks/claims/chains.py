"""Models and block times of the papers' experiments, from reference architectures."""

from collections.abc import Mapping, Sequence

from planning.problem.problem import Block, Model
from shared.model.analysis import BlockAnalysis
from shared.model.architectures import build
from shared.model.partitioned_model import build_model


def layers(name: str) -> Sequence[BlockAnalysis]:
    """Return the blocks of a reference architecture."""
    return build_model(build(name), sha256=name).analysis.blocks


def chain(blocks: Sequence[BlockAnalysis], input_bytes: float = 602_112) -> Model:
    """Return the model of a problem; without ``input_bytes`` its input is 224 x 224 pixels in FP32."""
    return Model(input_bytes, tuple(Block(each.name, each.output_bytes, each.flops) for each in blocks))


def by_flops(
    blocks: Sequence[BlockAnalysis], whole_ms: float, shares: Mapping[str, float] | None = None
) -> list[float]:
    """Return block times in proportion to FLOPs.

    Args:
        blocks: the blocks of the model.
        whole_ms: the sum of their times.
        shares: share of the sum for the blocks whose names begin with each key; FLOPs divide it among them.
    """
    shares = shares or {"": 1.0}
    times = [0.0] * len(blocks)
    for prefix, share in shares.items():
        own = [index for index, block in enumerate(blocks) if block.name.startswith(prefix)]
        total = sum(blocks[index].flops for index in own)
        for index in own:
            times[index] = whole_ms * share * blocks[index].flops / total
    return times
