"""SqueezeNet 1.1 (Iandola et al., "SqueezeNet", 2016; version 1.1 of the authors' repository)."""

from shared.model.architectures.builder import GraphBuilder
from shared.model.graph import Graph

_FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
_POOL_BEFORE = (2, 4, 6)


def squeezenet(seed: int) -> Graph:
    """Build SqueezeNet 1.1 for 224 x 224 images, layer for layer torchvision's."""
    b = GraphBuilder("squeezenet", seed, (1, 3, 224, 224))
    x = b.relu(b.conv(b.input, "conv1", 64, 3, stride=2))
    for index, (squeeze, expand) in _FIRES.items():
        if index in _POOL_BEFORE:
            x = b.max_pool(x, f"pool{index - 1}", 3, 2, ceil=True)
        x = b.relu(b.conv(x, f"fire{index}.squeeze", squeeze, 1))
        narrow = b.relu(b.conv(x, f"fire{index}.expand1", expand, 1))
        wide = b.relu(b.conv(x, f"fire{index}.expand3", expand, 3, padding=1))
        x = b.concat((narrow, wide), f"fire{index}.concat")
    x = b.relu(b.conv(x, "conv10", 1000, 1))
    return b.finish(b.flatten(b.global_pool(x, "pool10")))
