"""VGG16 (Simonyan & Zisserman, "Very deep convolutional networks", 2015, configuration D)."""

from shared.model.architectures.builder import GraphBuilder
from shared.model.graph import Graph

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def vgg16(seed: int) -> Graph:
    """Build VGG16 for 224 x 224 images, layer for layer torchvision's."""
    b = GraphBuilder("vgg16", seed, (1, 3, 224, 224))
    x = b.input
    for stage, (channels, depth) in enumerate(_STAGES, start=1):
        for index in range(1, depth + 1):
            x = b.relu(b.conv(x, f"conv{stage}_{index}", channels, 3, padding=1))
        x = b.max_pool(x, f"pool{stage}", 2, 2)
    x = b.relu(b.linear(b.flatten(x), "fc6", 4096))
    x = b.relu(b.linear(x, "fc7", 4096))
    return b.finish(b.linear(x, "fc8", 1000))
