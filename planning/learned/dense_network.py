"""Small fully connected networks with their gradient written out, and the optimiser Adam."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class DenseNetwork:
    """Fully connected layers with ReLU between them; the output is linear, or tanh if it is bounded.

    Attributes:
        widths: units of every layer, from the inputs to the outputs.
        bounded: whether outputs pass through tanh.
        values: all parameters in one vector. Weights [in, out] and biases [out] of the layers follow each other, and
            are views of it, so that a change of the vector changes the network.
    """

    def __init__(self, widths: Sequence[int], bounded: bool, values: Floats) -> None:
        """Arrange ``values`` as layers.

        Raises:
            ValueError: the number of values is not that of the layers.
        """
        self.widths, self.bounded, self.values = tuple(widths), bounded, values
        count = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(self.widths))
        if count != len(values):
            raise ValueError(f"layers of {self.widths} have {count} parameters, not {len(values)}")
        self.layers: list[tuple[Floats, Floats]] = []
        at = 0
        for fan_in, fan_out in pairwise(self.widths):
            weights = values[at : at + fan_in * fan_out]
            at += fan_in * fan_out
            self.layers.append((weights.reshape(fan_in, fan_out), values[at : at + fan_out]))
            at += fan_out

    @classmethod
    def fresh(cls, widths: Sequence[int], bounded: bool, rng: np.random.Generator) -> "DenseNetwork":
        """Return a network with the random start of Lillicrap et al. (arXiv 1509.02971, section 7).

        Layers are uniform in 1 / sqrt(inputs), the last one in 0.003, so that outputs start near 0.
        """
        parts = []
        for place, (fan_in, fan_out) in enumerate(pairwise(widths)):
            bound = 3e-3 if place == len(widths) - 2 else 1 / np.sqrt(fan_in)
            parts.append(rng.uniform(-bound, bound, (fan_in + 1) * fan_out))
        return cls(widths, bounded, np.concatenate(parts).astype(np.float32))

    @classmethod
    def of_layers(cls, layers: Sequence[tuple[Floats, Floats]], bounded: bool) -> "DenseNetwork":
        """Return the network of weights [in, out] and biases [out], which are copied."""
        widths = (layers[0][0].shape[0], *(weights.shape[1] for weights, _ in layers))
        return cls(widths, bounded, np.concatenate([part.ravel() for layer in layers for part in layer]))

    def copy(self) -> "DenseNetwork":
        """Return a network with its own parameters."""
        return DenseNetwork(self.widths, self.bounded, self.values.copy())

    def run(self, inputs: Floats) -> Floats:
        """Return the outputs of ``inputs``, [N, in] -> [N, out]."""
        return self.trace(inputs)[-1]

    def trace(self, inputs: Floats) -> list[Floats]:
        """Return the inputs and the outputs of every layer."""
        steps = [inputs]
        for place, (weights, biases) in enumerate(self.layers):
            values = steps[-1] @ weights + biases
            if place + 1 < len(self.layers):
                values = np.maximum(values, 0)
            elif self.bounded:
                values = np.tanh(values)
            steps.append(values)
        return steps

    def gradients(self, steps: Sequence[Floats], slopes: Floats, *, inputs_only: bool = False) -> tuple[Floats, Floats]:
        """Return the gradient of the sum of ``slopes`` x outputs by the parameters (like `values`) and by the inputs.

        Args:
            steps: the trace of the inputs.
            slopes: [N, out].
            inputs_only: leave the gradient by the parameters 0.
        """
        gradient = np.zeros_like(self.values)
        own = DenseNetwork(self.widths, self.bounded, gradient)
        down = slopes * (1 - steps[-1] ** 2) if self.bounded else slopes
        for place in range(len(self.layers) - 1, -1, -1):
            if not inputs_only:
                weights, biases = own.layers[place]
                np.matmul(steps[place].T, down, out=weights)
                np.sum(down, axis=0, out=biases)
            down = down @ self.layers[place][0].T
            if place:
                down = down * (steps[place] > 0)
        return gradient, down


class VectorAdam:
    """Adam on one vector (Kingma & Ba, ICLR 2015, algorithm 1, with its constants)."""

    def __init__(self, values: Floats, rate: float) -> None:
        """Start at ``values``, which `step` changes in place, with a learning rate."""
        self._values, self._rate = values, rate
        self._mean, self._square, self._steps = np.zeros_like(values), np.zeros_like(values), 0

    def step(self, gradient: Floats) -> None:
        """Go one step down the gradient."""
        self._steps += 1
        self._mean += np.float32(0.1) * (gradient - self._mean)
        self._square += np.float32(0.001) * (gradient * gradient - self._square)
        rate = np.float32(self._rate * np.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps))
        self._values -= rate * self._mean / (np.sqrt(self._square) + np.float32(1e-8))
