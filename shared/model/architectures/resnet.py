"""Residual networks (He et al., "Deep residual learning for image recognition", 2016)."""

from collections.abc import Callable

from shared.model.architectures.builder import GraphBuilder
from shared.model.graph import Graph

_Block = Callable[[GraphBuilder, str, str, int, int], str]


def resnet18(seed: int) -> Graph:
    """Build ResNet18 for 224 x 224 images, layer for layer torchvision's."""
    return _resnet(GraphBuilder("resnet18", seed, (1, 3, 224, 224)), _basic, (2, 2, 2, 2))


def resnet50(seed: int) -> Graph:
    """Build ResNet50 for 224 x 224 images, layer for layer torchvision's (stride in the 3 x 3 convolution)."""
    return _resnet(GraphBuilder("resnet50", seed, (1, 3, 224, 224)), _bottleneck, (3, 4, 6, 3))


def _resnet(b: GraphBuilder, block: _Block, depths: tuple[int, ...]) -> Graph:
    x = b.conv_bn_relu(b.input, "stem", 64, 7, stride=2, padding=3)
    x = b.max_pool(x, "stem.pool", 3, 2, padding=1)
    for stage, depth in enumerate(depths, start=1):
        for index in range(depth):
            stride = 2 if stage > 1 and index == 0 else 1
            x = block(b, x, f"layer{stage}.{index}", 32 << stage, stride)
    return b.finish(b.linear(b.flatten(b.global_pool(x, "pool")), "fc", 1000))


def _basic(b: GraphBuilder, x: str, name: str, channels: int, stride: int) -> str:
    y = b.conv_bn_relu(x, f"{name}.1", channels, 3, stride=stride, padding=1)
    y = b.conv(y, f"{name}.2.conv", channels, 3, padding=1, bias=False)
    return _join(b, x, b.batch_norm(y, f"{name}.2.bn", ends_residual=True), name, stride)


def _bottleneck(b: GraphBuilder, x: str, name: str, channels: int, stride: int) -> str:
    y = b.conv_bn_relu(x, f"{name}.1", channels, 1)
    y = b.conv_bn_relu(y, f"{name}.2", channels, 3, stride=stride, padding=1)
    y = b.conv(y, f"{name}.3.conv", 4 * channels, 1, bias=False)
    return _join(b, x, b.batch_norm(y, f"{name}.3.bn", ends_residual=True), name, stride)


def _join(b: GraphBuilder, x: str, y: str, name: str, stride: int) -> str:
    """Add the shortcut to the block's own path; a projection makes the shapes agree where they do not."""
    channels = b.shape(y)[1]
    if stride > 1 or b.shape(x)[1] != channels:
        x = b.conv(x, f"{name}.shortcut.conv", channels, 1, stride=stride, bias=False)
        x = b.batch_norm(x, f"{name}.shortcut.bn")
    return b.relu(b.add(y, x, f"{name}.add"))
