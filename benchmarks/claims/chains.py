"""Problems of the experiments: a reference architecture on a device that is as fast as a paper says."""

from collections.abc import Mapping, Sequence

from planning.problem.problem import BlockAnalysis, Model
from shared.model.analysis import BlockAnalysis as ModelBlock
from shared.model.architectures import build
from shared.model.partitioned_model import build_model


def layers(name: str) -> Sequence[ModelBlock]:
    """Return the blocks of a reference architecture."""
    return build_model(build(name), sha256=name).analysis.blocks


def chain(blocks: Sequence[ModelBlock], input_bytes: float = 602_112) -> Model:
    """Return the model of a problem; its input is a tensor of 224 x 224 pixels in FP32 unless given."""
    return Model(input_bytes, tuple(BlockAnalysis(each.name, each.output_bytes, each.flops) for each in blocks))


def by_flops(blocks: Sequence[ModelBlock], whole_ms: float, shares: Mapping[str, float] | None = None) -> list[float]:
    """Return block times in proportion to FLOPs.

    Args:
        blocks: of the model.
        whole_ms: their sum.
        shares: of the whole, for the blocks whose names begin with each key; within them FLOPs decide.
    """
    shares = shares or {"": 1.0}
    times = [0.0] * len(blocks)
    for prefix, share in shares.items():
        own = [index for index, block in enumerate(blocks) if block.name.startswith(prefix)]
        total = sum(blocks[index].flops for index in own)
        for index in own:
            times[index] = whole_ms * share * blocks[index].flops / total
    return times
