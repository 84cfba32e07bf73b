"""What a planner needs to know about a model: its blocks and the cuts between them."""

from dataclasses import dataclass

from shared.model.tensor import Tensor


@dataclass(frozen=True)
class BlockAnalysis:
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
    blocks: tuple[BlockAnalysis, ...]
    cuts: tuple[Cut, ...]
    outputs: tuple[Tensor, ...]

    @property
    def input_bytes(self) -> int:
        """Raw size of the model's inputs."""
        return sum(tensor.size_bytes for tensor in self.input)
