"""A user's choices where a model's file leaves something open or computes more than is needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Adaptation:
    """How a model's file is read.

    Attributes:
        input_shapes: shapes of inputs whose shape the file leaves open, by name.
        dimensions: sizes of symbolic dimensions, such as `batch` or `seq_len`, in all inputs that have them.
        input_values: constants in the place of inputs, by name. One number serves for all elements.
        outputs: names of the outputs that are kept, in the order in which results have them; all if empty. Inputs and
            operators that only other outputs need are left out.
    """

    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dimensions: Mapping[str, int] = field(default_factory=dict)
    input_values: "Mapping[str, ArrayLike]" = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    @property
    def changes_graph(self) -> bool:
        """True if the model that is read has other inputs or outputs than the file."""
        return bool(self.input_values or self.outputs)
