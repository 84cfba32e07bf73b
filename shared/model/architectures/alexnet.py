"""AlexNet in one tower (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014)."""

from shared.model.architectures.builder import GraphBuilder
from shared.model.graph import Graph

_CONVOLUTIONS = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)


def alexnet(seed: int) -> Graph:
    """Build AlexNet for 224 x 224 images, layer for layer torchvision's."""
    b = GraphBuilder("alexnet", seed, (1, 3, 224, 224))
    x = b.input
    for index, (channels, kernel, stride, padding, pool) in enumerate(_CONVOLUTIONS, start=1):
        x = b.relu(b.conv(x, f"conv{index}", channels, kernel, stride=stride, padding=padding))
        if pool:
            x = b.max_pool(x, f"pool{index}", 3, 2)
    x = b.relu(b.linear(b.flatten(x), "fc6", 4096))
    x = b.relu(b.linear(x, "fc7", 4096))
    return b.finish(b.linear(x, "fc8", 1000))
