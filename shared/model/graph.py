"""The graph of a neural network as immutable data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from shared.model.errors import ShapeError
from shared.model.tensor import Tensor
from shared.model.weights import Array, Weight


@dataclass(frozen=True)
class Opaque:
    """An attribute that is passed on without being interpreted, such as a subgraph, as serialised bytes."""

    data: bytes


Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array | Opaque


@dataclass(frozen=True, eq=False)
class Node:
    """One operator.

    Attributes:
        name: may be empty; ONNX does not require names.
        op_type: operator, such as `Conv`.
        inputs: names of tensors; an empty string stands for an absent optional input.
        outputs: names of tensors; an empty string stands for an absent optional output.
        attributes: by name.
        domain: of the operator; empty for ONNX's own.
        captures: tensors of this graph that subgraphs among the attributes read.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    domain: str = ""
    captures: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name for messages: the node's own, or else its operator and first output."""
        return self.name or f"{self.op_type}({self.written[0] if self.written else ''})"

    @property
    def reads(self) -> Iterator[str]:
        """Names of the tensors that it reads, those of its subgraphs included."""
        yield from (name for name in self.inputs if name)
        yield from self.captures

    @property
    def written(self) -> tuple[str, ...]:
        """Names of the tensors that it writes."""
        return tuple(name for name in self.outputs if name)

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute, or `default`."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return an attribute that is a list of integers, or `default`."""
        value = self.attributes.get(name)
        return tuple(int(v) for v in value) if isinstance(value, tuple) else default

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a string, or `default`."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, str) else default


@dataclass(frozen=True, eq=False)
class Graph:
    """A model whose shapes are static, except those of dynamic tensors.

    Attributes:
        name: of the graph, for messages.
        nodes: in topological order.
        inputs: names of the inputs, weights excluded, in their declared order.
        outputs: names of the outputs, in their declared order.
        tensors: descriptions of inputs, weights and every tensor that a node needs.
        weights: constants by the name of their tensor.
        opsets: version of each operator domain.
        dynamic: names of tensors whose size only a run tells, and of values that are no tensors, such as sequences. Of
            these, `tensors` describes the outputs of the graph, with 0 for an unknown dimension.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    weights: Mapping[str, Weight]
    opsets: Mapping[str, int]
    dynamic: frozenset[str] = frozenset()

    def tensor(self, name: str) -> Tensor:
        """Return the description of a tensor.

        Raises:
            ShapeError: Its element type or shape is unknown.
        """
        try:
            return self.tensors[name]
        except KeyError:
            raise ShapeError(f"tensor {name!r} has no known shape and element type") from None

    def can_cross(self, name: str) -> bool:
        """Return whether a tensor can be sent from one device to another."""
        return name not in self.dynamic and self.tensor(name).dtype.has_numpy_type

    def is_sized(self, name: str) -> bool:
        """Return whether the size of a tensor is known before a run."""
        return name in self.tensors and name not in self.dynamic

    def describe(self, names: tuple[str, ...]) -> tuple[Tensor, ...]:
        """Return the descriptions of several tensors.

        Raises:
            ShapeError: The element type or shape of one of them is unknown.
        """
        return tuple(self.tensor(name) for name in names)
