"""Description of a model for planning: its blocks and the cuts between them."""

from dataclasses import dataclass

from shared.model.tensor import Tensor
from shared.model.tiles.block_rows import BlockRows


@dataclass(frozen=True)
class BlockAnalysis:
    """The part of a graph between two neighbouring useful cuts: the smallest unit placed on a device.

    Attributes:
        name: name of its most expensive node, unique in the model.
        output_bytes: raw size of the tensors that cross behind it.
        flops: floating-point operations, 2 for each multiply-accumulate.
        parameter_bytes: size of the constants that its operators read.
        peak_activation_bytes: largest total size of live tensors while it runs node by node, its inputs included.
        operators: operator types of its nodes, in topological order.
        domains: domains of its operators beside ONNX's own, sorted.
        rows: its rows, if it can be split into tiles.
        untileable: why it cannot; empty if it can.
    """

    name: str
    output_bytes: int
    flops: int
    parameter_bytes: int
    peak_activation_bytes: int
    operators: tuple[str, ...]
    domains: tuple[str, ...] = ()
    rows: BlockRows | None = None
    untileable: str = ""

    @property
    def tileable(self) -> bool:
        """Whether horizontal slices of its output can be computed separately."""
        return self.rows is not None


@dataclass(frozen=True)
class Cut:
    """The tensors that cross before block `index`, 1 <= index < number of blocks, and their total raw size."""

    index: int
    tensors: tuple[Tensor, ...]
    size_bytes: int


@dataclass(frozen=True)
class ModelAnalysis:
    """A model's data for planning.

    Attributes:
        sha256: digest of its file, in hexadecimal.
        input: its inputs.
        blocks: in order.
        cuts: between the blocks.
        outputs: its outputs, with 0 for a dimension that only a run tells.
        dynamic_outputs: names of the outputs whose size only a run tells. Their bytes count as 0 unless the file
            declares their shape.
    """

    sha256: str
    input: tuple[Tensor, ...]
    blocks: tuple[BlockAnalysis, ...]
    cuts: tuple[Cut, ...]
    outputs: tuple[Tensor, ...]
    dynamic_outputs: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """Floating-point operations of one run."""
        return sum(block.flops for block in self.blocks)

    @property
    def input_bytes(self) -> int:
        """Raw size of the model's inputs together."""
        return sum(tensor.size_bytes for tensor in self.input)
