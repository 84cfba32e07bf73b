"""What a planner needs to know about a model: its blocks and the cuts between them."""

from dataclasses import dataclass

from shared.model.tensor import Tensor


@dataclass(frozen=True)
class Block:
    """The graph between two neighbouring useful cuts: the smallest thing that is placed on a device.

    `flops` counts 2 per multiply-accumulate; `parameter_bytes` are the constants that its operators read;
    `peak_activation_bytes` is the most that is alive at once while it runs node by node, its inputs included;
    `tileable` says whether horizontal slices of its output can be computed apart.
    """

    name: str
    output_bytes: int
    flops: int
    parameter_bytes: int
    peak_activation_bytes: int
    tileable: bool
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Cut:
    """The tensors that cross before block `index`, 1 <= index < number of blocks, and their raw size."""

    index: int
    tensors: tuple[Tensor, ...]
    size_bytes: int


@dataclass(frozen=True)
class ModelAnalysis:
    """A model as the planner sees it; `sha256` is that of the bytes of its file."""

    sha256: str
    input: tuple[Tensor, ...]
    blocks: tuple[Block, ...]
    cuts: tuple[Cut, ...]
    outputs: tuple[Tensor, ...]

    @property
    def input_bytes(self) -> int:
        """Raw size of the model's inputs."""
        return sum(tensor.size_bytes for tensor in self.input)


def virtual_blocks(analysis: ModelAnalysis) -> tuple[int, ...]:
    """Find the cuts that remain after virtual blocking (Duan & Wu 2021, section 3.2).

    A cut can only pay for latency on a chain of two devices if less crosses there than at every cut before it, the
    model's input included: whatever a later, larger cut saves, the earlier one saves too. For throughput, memory
    or more than two devices the other cuts may pay as well.

    Returns:
        Indices of cuts, ascending; sizes fall strictly from one to the next.
    """
    smallest = analysis.input_bytes
    kept: list[int] = []
    for cut in analysis.cuts:
        if cut.size_bytes < smallest:
            smallest = cut.size_bytes
            kept.append(cut.index)
    return tuple(kept)
