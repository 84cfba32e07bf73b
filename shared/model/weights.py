"""Weights: numbers that are there, or a seeded recipe that makes them when they are needed."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.model.tensor import DType, Tensor

Array = NDArray[Any]


@dataclass(frozen=True)
class Normal:
    """Normal distribution around zero."""

    deviation: float


@dataclass(frozen=True)
class Uniform:
    """Uniform distribution over [low, high)."""

    low: float
    high: float


@dataclass(frozen=True)
class Recipe:
    """A seeded distribution: the same seed and tensor name give the same numbers, in whatever order they are made."""

    seed: int
    distribution: Normal | Uniform

    def make(self, tensor: Tensor) -> Array:
        """Make the numbers of a floating-point `tensor`, in its shape."""
        rng = np.random.default_rng((self.seed, zlib.crc32(tensor.name.encode())))
        match self.distribution:
            case Normal(deviation):
                values = rng.standard_normal(tensor.shape, dtype=np.float32)
                values *= np.float32(deviation)
            case Uniform(low, high):
                values = rng.random(tensor.shape, dtype=np.float32)
                values *= np.float32(high - low)
                values += np.float32(low)
        return values if tensor.dtype is DType.FLOAT32 else values.astype(tensor.dtype.value)


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant tensor of the model; a recipe stands in for its numbers until somebody asks for them."""

    tensor: Tensor
    source: Array | Recipe

    def values(self) -> Array:
        """Return the numbers, in the tensor's shape; a recipe makes them anew on every call."""
        return self.source.make(self.tensor) if isinstance(self.source, Recipe) else self.source


def he_normal(fan_in: int) -> Normal:
    """He initialisation: variance 2 / fan_in (He et al., "Delving Deep into Rectifiers", 2015, equation 10)."""
    return Normal((2.0 / max(fan_in, 1)) ** 0.5)
