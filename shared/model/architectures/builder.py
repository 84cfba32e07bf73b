"""Builds graphs layer by layer."""

from collections.abc import Sequence
from typing import Final

from shared.model.graph import Attribute, Graph, Node
from shared.model.tensor import DType, Tensor
from shared.model.weights import Normal, Recipe, Uniform, Weight, he_normal

_OPSET: Final = 13
_BIAS: Final = Normal(0.05)
_SCALE: Final = Uniform(0.5, 1.5)
# Small gains at the end of residual branches keep the activations of deep networks from growing.
_RESIDUAL_SCALE: Final = Uniform(0.1, 0.3)

Size = int | tuple[int, int]


class GraphBuilder:
    """A graph under construction, batch 1, single precision.

    Every method for a layer appends it and returns the name of its output, which is the input `x` of later layers.
    Images have the shape [1, channels, rows, columns]. Names of layers are those of their outputs and unique.
    """

    def __init__(self, name: str, seed: int, input_shape: tuple[int, int, int, int]) -> None:
        """Start a model with one image input, called `input`."""
        self._name = name
        self._seed = seed
        self._nodes: list[Node] = []
        self._weights: dict[str, Weight] = {}
        self._tensors = {"input": Tensor("input", DType.FLOAT32, input_shape)}
        self.input = "input"

    def shape(self, x: str) -> tuple[int, ...]:
        """Return the shape of a layer's output."""
        return self._tensors[x].shape

    def finish(self, *outputs: str) -> Graph:
        """Return the graph."""
        return Graph(
            name=self._name,
            nodes=tuple(self._nodes),
            inputs=(self.input,),
            outputs=outputs,
            tensors=self._tensors,
            weights=self._weights,
            opsets={"": _OPSET},
        )

    def conv(
        self, x: str, name: str, channels: int, kernel: Size, *, stride: int = 1, padding: Size = 0, groups: int = 1,
        bias: bool = True,
    ) -> str:  # fmt: skip
        """Add a convolution with He-initialised weights."""
        rows, columns = _pair(kernel)
        fan_in = self.shape(x)[1] // groups
        inputs = [
            x,
            self._weight(f"{name}.weight", (channels, fan_in, rows, columns), he_normal(fan_in * rows * columns)),
        ]
        if bias:
            inputs.append(self._weight(f"{name}.bias", (channels,), _BIAS))
        size = self._window(x, (rows, columns), stride, _pair(padding), ceil=False)
        window = _window_attributes((rows, columns), stride, _pair(padding))
        return self._node("Conv", name, inputs, (1, channels, *size), group=groups, **window)

    def batch_norm(self, x: str, name: str, *, ends_residual: bool = False) -> str:
        """Add a batch normalisation in inference mode, with a positive variance.

        One that ends the residual path of a block scales down, so that activations do not grow from block to block.
        """
        channels = (self.shape(x)[1],)
        inputs = [
            x,
            self._weight(f"{name}.weight", channels, _RESIDUAL_SCALE if ends_residual else _SCALE),
            self._weight(f"{name}.bias", channels, _BIAS),
            self._weight(f"{name}.running_mean", channels, _BIAS),
            self._weight(f"{name}.running_var", channels, _SCALE),
        ]
        return self._node("BatchNormalization", name, inputs, self.shape(x), epsilon=1e-5)

    def relu(self, x: str) -> str:
        """Add a rectified linear unit."""
        return self._node("Relu", f"{x}.relu", [x], self.shape(x))

    def relu6(self, x: str) -> str:
        """Add a rectified linear unit with the upper limit 6."""
        name = f"{x}.relu6"
        limits = [self._weight(f"{name}.{end}", (), Uniform(value, value)) for end, value in (("min", 0), ("max", 6))]
        return self._node("Clip", name, [x, *limits], self.shape(x))

    def leaky_relu(self, x: str, slope: float) -> str:
        """Add a leaky rectified linear unit; `slope` is the factor of negative values."""
        return self._node("LeakyRelu", f"{x}.leaky", [x], self.shape(x), alpha=slope)

    def max_pool(self, x: str, name: str, kernel: int, stride: int, *, padding: int = 0, ceil: bool = False) -> str:
        """Add a maximum pooling; `ceil` rounds the output's size up."""
        size = self._window(x, _pair(kernel), stride, _pair(padding), ceil)
        window = _window_attributes(_pair(kernel), stride, _pair(padding))
        return self._node("MaxPool", name, [x], (*self.shape(x)[:2], *size), ceil_mode=int(ceil), **window)

    def average_pool(self, x: str, name: str, kernel: int, stride: int, *, padding: int = 0) -> str:
        """Add an average pooling that counts its padding, as in torchvision."""
        size = self._window(x, _pair(kernel), stride, _pair(padding), ceil=False)
        window = _window_attributes(_pair(kernel), stride, _pair(padding))
        return self._node("AveragePool", name, [x], (*self.shape(x)[:2], *size), count_include_pad=1, **window)

    def global_pool(self, x: str, name: str) -> str:
        """Add an average over all rows and columns."""
        return self._node("GlobalAveragePool", name, [x], (*self.shape(x)[:2], 1, 1))

    def flatten(self, x: str) -> str:
        """Add a flattening to (batch, features)."""
        batch, channels, rows, columns = self.shape(x)
        return self._node("Flatten", f"{x}.flatten", [x], (batch, channels * rows * columns), axis=1)

    def linear(self, x: str, name: str, features: int) -> str:
        """Add a fully connected layer with He-initialised weights."""
        fan_in = self.shape(x)[1]
        inputs = [
            x,
            self._weight(f"{name}.weight", (features, fan_in), he_normal(fan_in)),
            self._weight(f"{name}.bias", (features,), _BIAS),
        ]
        return self._node("Gemm", name, inputs, (1, features), transB=1)

    def add(self, a: str, b: str, name: str) -> str:
        """Add an element-wise sum of two outputs."""
        return self._node("Add", name, [a, b], self.shape(a))

    def concat(self, parts: Sequence[str], name: str) -> str:
        """Concatenate outputs along their channels."""
        _, _, rows, columns = self.shape(parts[0])
        channels = sum(self.shape(part)[1] for part in parts)
        return self._node("Concat", name, parts, (1, channels, rows, columns), axis=1)

    def space_to_depth(self, x: str, name: str, block: int) -> str:
        """Move squares of block x block pixels into the channels: [1, C, R, W] becomes [1, C b^2, R / b, W / b]."""
        _, channels, rows, columns = self.shape(x)
        shape = (1, channels * block * block, rows // block, columns // block)
        return self._node("SpaceToDepth", name, [x], shape, blocksize=block)

    def conv_bn_relu(
        self, x: str, name: str, channels: int, kernel: Size, *, stride: int = 1, padding: Size = 0
    ) -> str:
        """Add a convolution without bias, a batch normalisation and a rectified linear unit."""
        x = self.conv(x, f"{name}.conv", channels, kernel, stride=stride, padding=padding, bias=False)
        return self.relu(self.batch_norm(x, f"{name}.bn"))

    def _window(
        self, x: str, kernel: tuple[int, int], stride: int, padding: tuple[int, int], ceil: bool
    ) -> tuple[int, ...]:
        return tuple(
            _window_count(size, k, stride, p, ceil)
            for size, k, p in zip(self.shape(x)[2:], kernel, padding, strict=True)
        )

    def _weight(self, name: str, shape: tuple[int, ...], distribution: Normal | Uniform) -> str:
        tensor = Tensor(name, DType.FLOAT32, shape)
        self._tensors[name] = tensor
        self._weights[name] = Weight(tensor, Recipe(self._seed, distribution))
        return name

    def _node(
        self, op_type: str, name: str, inputs: Sequence[str], shape: tuple[int, ...], **attributes: Attribute
    ) -> str:
        self._nodes.append(Node(name, op_type, tuple(inputs), (name,), attributes))
        self._tensors[name] = Tensor(name, DType.FLOAT32, shape)
        return name


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _window_attributes(kernel: tuple[int, int], stride: int, padding: tuple[int, int]) -> dict[str, Attribute]:
    return {"kernel_shape": kernel, "strides": (stride, stride), "pads": (*padding, *padding)}


def _window_count(size: int, kernel: int, stride: int, padding: int, ceil: bool) -> int:
    """Return the number of positions of a window along one axis.

    When rounding up, no window starts in the padding behind the image (as in PyTorch and ONNX).
    """
    reach = size + 2 * padding - kernel
    if not ceil:
        return reach // stride + 1
    count = -(-reach // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count
