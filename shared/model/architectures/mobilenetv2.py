"""MobileNetV2 (Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018, table 2)."""

from shared.model.architectures.builder import GraphBuilder
from shared.model.graph import Graph

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenetv2(seed: int) -> Graph:
    """Build MobileNetV2 for 224 x 224 images, layer for layer torchvision's."""
    b = GraphBuilder("mobilenetv2", seed, (1, 3, 224, 224))
    x = _conv_bn_relu6(b, b.input, "stem", 32, 3, stride=2)
    for stage, (expansion, channels, depth, stride) in enumerate(_STAGES, start=1):
        for index in range(depth):
            x = _inverted_residual(b, x, f"block{stage}.{index}", expansion, channels, stride if index == 0 else 1)
    x = _conv_bn_relu6(b, x, "head", 1280, 1)
    return b.finish(b.linear(b.flatten(b.global_pool(x, "pool")), "fc", 1000))


def _conv_bn_relu6(
    b: GraphBuilder, x: str, name: str, channels: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> str:
    x = b.conv(x, f"{name}.conv", channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return b.relu6(b.batch_norm(x, f"{name}.bn"))


def _inverted_residual(b: GraphBuilder, x: str, name: str, expansion: int, channels: int, stride: int) -> str:
    inner = b.shape(x)[1] * expansion
    y = x if expansion == 1 else _conv_bn_relu6(b, x, f"{name}.expand", inner, 1)
    y = _conv_bn_relu6(b, y, f"{name}.depthwise", inner, 3, stride=stride, groups=inner)
    y = b.batch_norm(b.conv(y, f"{name}.project.conv", channels, 1, bias=False), f"{name}.project.bn")
    return b.add(y, x, f"{name}.add") if b.shape(x) == b.shape(y) else y
