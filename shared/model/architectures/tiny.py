"""A very small convolutional network, for tests and first steps."""

from shared.model.architectures.builder import GraphBuilder
from shared.model.graph import Graph


def tiny(seed: int) -> Graph:
    """Build a network for 32 x 32 images: a stem, a pool, one residual block, a pool, a classifier of ten classes."""
    b = GraphBuilder("tiny", seed, (1, 3, 32, 32))
    x = b.conv_bn_relu(b.input, "stem", 8, 3, padding=1)
    x = b.max_pool(x, "pool1", 2, 2)
    y = b.conv_bn_relu(x, "residual.1", 8, 3, padding=1)
    y = b.batch_norm(b.conv(y, "residual.2.conv", 8, 3, padding=1, bias=False), "residual.2.bn", ends_residual=True)
    x = b.relu(b.add(y, x, "residual.add"))
    x = b.max_pool(b.relu(b.conv(x, "conv2", 16, 3, padding=1)), "pool2", 2, 2)
    return b.finish(b.linear(b.flatten(b.global_pool(x, "pool3")), "fc", 10))
