"""Weights of a model: values, a seeded recipe that generates them on demand, or their place in a packed file."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.model.errors import AbsentValuesError
from shared.model.tensor import DType, Tensor

Array = NDArray[Any]


@dataclass(frozen=True)
class Normal:
    """Normal distribution with mean zero and the given standard deviation."""

    deviation: float


@dataclass(frozen=True)
class Uniform:
    """Uniform distribution over [low, high)."""

    low: float
    high: float


@dataclass(frozen=True)
class Recipe:
    """A seeded distribution; seed and tensor name determine the values, whatever the order of generation."""

    seed: int
    distribution: Normal | Uniform

    def make(self, tensor: Tensor) -> Array:
        """Generate the values of a floating-point `tensor`, in its shape."""
        rng = np.random.default_rng((self.seed, zlib.crc32(tensor.name.encode())))
        match self.distribution:
            case Normal(deviation):
                # Scaled in place: the weights of VGG16 are half a gigabyte.
                values = rng.standard_normal(tensor.shape, dtype=np.float32)
                values *= np.float32(deviation)
            case Uniform(low, high):
                values = rng.random(tensor.shape, dtype=np.float32)
                values *= np.float32(high - low)
                values += np.float32(low)
        return values if tensor.dtype is DType.FLOAT32 else values.astype(tensor.dtype.value)


@dataclass(frozen=True)
class StoredValues:
    """Place of values in a packed file. The file may have a hole there, so Segue never reads them.

    Attributes:
        file_name: name of the file.
        offset: position of the first byte. The values are little-endian, in the order of the tensor.
    """

    file_name: str
    offset: int


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant tensor of the model, with its values, a recipe for them, or their place."""

    tensor: Tensor
    source: Array | Recipe | StoredValues

    def values(self) -> Array:
        """Return the values, in the tensor's shape; a recipe generates them on every call.

        Raises:
            AbsentValuesError: only their place is known.
        """
        match self.source:
            case Recipe():
                return self.source.make(self.tensor)
            case StoredValues():
                raise AbsentValuesError(self.tensor.name)
        return self.source


def is_stored(weight: Weight) -> bool:
    """Return whether only the place of a weight's values is known."""
    return isinstance(weight.source, StoredValues)


def he_normal(fan_in: int) -> Normal:
    """Return the initialisation of He et al., "Delving deep into rectifiers", 2015, equation 10.

    Its variance is 2 / fan_in.

    Args:
        fan_in: inputs of each output of the layer.
    """
    return Normal((2.0 / max(fan_in, 1)) ** 0.5)
