"""The graph of a neural network as plain, frozen data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from shared.model.errors import ShapeError
from shared.model.tensor import Tensor
from shared.model.weights import Array, Weight


@dataclass(frozen=True)
class Opaque:
    """An attribute that only its writer understands (a subgraph, say), as serialised bytes."""

    data: bytes


Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array | Opaque


@dataclass(frozen=True, eq=False)
class Node:
    """One operator.

    An optional input or output that is absent is an empty string. `captures` are the tensors that
    subgraphs among the attributes read from this graph.
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
        """How to name this node to people: its name, or its operator and first output."""
        return self.name or f"{self.op_type}({self.written[0] if self.written else ''})"

    @property
    def reads(self) -> Iterator[str]:
        """Names of the tensors that it reads."""
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
    """A model: `nodes` in topological order, every shape static.

    `tensors` describes inputs, weights and everything that nodes write and other nodes need.
    `opsets` maps an operator domain to its version.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    weights: Mapping[str, Weight]
    opsets: Mapping[str, int]

    def tensor(self, name: str) -> Tensor:
        """Return the description of a tensor.

        Raises:
            ShapeError: Its element type or shape is not known.
        """
        try:
            return self.tensors[name]
        except KeyError:
            raise ShapeError(f"tensor {name!r} has no known shape and element type") from None

    def describe(self, names: tuple[str, ...]) -> tuple[Tensor, ...]:
        """Return the descriptions of several tensors.

        Raises:
            ShapeError: The element type or shape of one of them is not known.
        """
        return tuple(self.tensor(name) for name in names)
