"""Inception v3 (Szegedy et al., "Rethinking the inception architecture for computer vision", 2016)."""

from shared.model.architectures.builder import GraphBuilder, Size
from shared.model.graph import Graph

_Layer = tuple[int, Size]


def inceptionv3(seed: int) -> Graph:
    """Build Inception v3 for 299 x 299 images: torchvision's, without the classifier that only training needs."""
    b = GraphBuilder("inceptionv3", seed, (1, 3, 299, 299))
    x = _stem(b)
    for name, pool in (("5b", 32), ("5c", 64), ("5d", 64)):
        x = _module_a(b, x, f"mixed{name}", pool)
    x = _reduction_b(b, x, "mixed6a")
    for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        x = _module_c(b, x, f"mixed{name}", width)
    x = _reduction_d(b, x, "mixed7a")
    for name in ("7b", "7c"):
        x = _module_e(b, x, f"mixed{name}")
    return b.finish(b.linear(b.flatten(b.global_pool(x, "pool")), "fc", 1000))


def _stem(b: GraphBuilder) -> str:
    x = b.conv_bn_relu(b.input, "conv1a", 32, 3, stride=2)
    x = b.conv_bn_relu(x, "conv2a", 32, 3)
    x = b.conv_bn_relu(x, "conv2b", 64, 3, padding=1)
    x = b.max_pool(x, "pool1", 3, 2)
    x = b.conv_bn_relu(x, "conv3b", 80, 1)
    x = b.conv_bn_relu(x, "conv4a", 192, 3)
    return b.max_pool(x, "pool2", 3, 2)


def _same(b: GraphBuilder, x: str, name: str, *layers: _Layer) -> str:
    """Add convolutions that keep rows and columns."""
    for index, (channels, kernel) in enumerate(layers, start=1):
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        x = b.conv_bn_relu(x, f"{name}.{index}", channels, kernel, padding=(rows // 2, columns // 2))
    return x


def _pooled(b: GraphBuilder, x: str, name: str, channels: int) -> str:
    return _same(b, b.average_pool(x, f"{name}.pool", 3, 1, padding=1), name, (channels, 1))


def _module_a(b: GraphBuilder, x: str, name: str, pool: int) -> str:
    branches = (
        _same(b, x, f"{name}.branch1", (64, 1)),
        _same(b, x, f"{name}.branch5", (48, 1), (64, 5)),
        _same(b, x, f"{name}.branch3", (64, 1), (96, 3), (96, 3)),
        _pooled(b, x, f"{name}.branchpool", pool),
    )
    return b.concat(branches, f"{name}.concat")


def _reduction_b(b: GraphBuilder, x: str, name: str) -> str:
    double = _same(b, x, f"{name}.branch3double", (64, 1), (96, 3))
    branches = (
        b.conv_bn_relu(x, f"{name}.branch3", 384, 3, stride=2),
        b.conv_bn_relu(double, f"{name}.branch3double.3", 96, 3, stride=2),
        b.max_pool(x, f"{name}.branchpool", 3, 2),
    )
    return b.concat(branches, f"{name}.concat")


def _module_c(b: GraphBuilder, x: str, name: str, width: int) -> str:
    row, column = (1, 7), (7, 1)
    branches = (
        _same(b, x, f"{name}.branch1", (192, 1)),
        _same(b, x, f"{name}.branch7", (width, 1), (width, row), (192, column)),
        _same(b, x, f"{name}.branch7double", (width, 1), (width, column), (width, row), (width, column), (192, row)),
        _pooled(b, x, f"{name}.branchpool", 192),
    )
    return b.concat(branches, f"{name}.concat")


def _reduction_d(b: GraphBuilder, x: str, name: str) -> str:
    three = _same(b, x, f"{name}.branch3", (192, 1))
    seven = _same(b, x, f"{name}.branch7", (192, 1), (192, (1, 7)), (192, (7, 1)))
    branches = (
        b.conv_bn_relu(three, f"{name}.branch3.2", 320, 3, stride=2),
        b.conv_bn_relu(seven, f"{name}.branch7.4", 192, 3, stride=2),
        b.max_pool(x, f"{name}.branchpool", 3, 2),
    )
    return b.concat(branches, f"{name}.concat")


def _module_e(b: GraphBuilder, x: str, name: str) -> str:
    three = _same(b, x, f"{name}.branch3", (384, 1))
    double = _same(b, x, f"{name}.branch3double", (448, 1), (384, 3))
    branches = (
        _same(b, x, f"{name}.branch1", (320, 1)),
        _same(b, three, f"{name}.branch3.row", (384, (1, 3))),
        _same(b, three, f"{name}.branch3.column", (384, (3, 1))),
        _same(b, double, f"{name}.branch3double.row", (384, (1, 3))),
        _same(b, double, f"{name}.branch3double.column", (384, (3, 1))),
        _pooled(b, x, f"{name}.branchpool", 192),
    )
    return b.concat(branches, f"{name}.concat")
