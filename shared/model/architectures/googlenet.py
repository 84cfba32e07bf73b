"""GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2015, table 1), with batch normalisation."""

from shared.model.architectures.builder import GraphBuilder
from shared.model.graph import Graph

_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(seed: int) -> Graph:
    """Build GoogLeNet for 224 x 224 images: torchvision's, without the classifiers that only training needs.

    As there, the third branch of a module has 3 x 3 kernels where the paper has 5 x 5.
    """
    b = GraphBuilder("googlenet", seed, (1, 3, 224, 224))
    x = b.conv_bn_relu(b.input, "conv1", 64, 7, stride=2, padding=3)
    x = b.max_pool(x, "pool1", 3, 2, ceil=True)
    x = b.conv_bn_relu(x, "conv2", 64, 1)
    x = b.conv_bn_relu(x, "conv3", 192, 3, padding=1)
    x = b.max_pool(x, "pool2", 3, 2, ceil=True)
    for name, widths in _MODULES.items():
        if name == "4a":
            x = b.max_pool(x, "pool3", 3, 2, ceil=True)
        if name == "5a":
            x = b.max_pool(x, "pool4", 2, 2, ceil=True)
        x = _inception(b, x, f"inception{name}", widths)
    return b.finish(b.linear(b.flatten(b.global_pool(x, "pool5")), "fc", 1000))


def _inception(b: GraphBuilder, x: str, name: str, widths: tuple[int, ...]) -> str:
    one, reduce2, two, reduce3, three, four = widths
    branch1 = b.conv_bn_relu(x, f"{name}.branch1", one, 1)
    branch2 = b.conv_bn_relu(x, f"{name}.branch2.reduce", reduce2, 1)
    branch2 = b.conv_bn_relu(branch2, f"{name}.branch2", two, 3, padding=1)
    branch3 = b.conv_bn_relu(x, f"{name}.branch3.reduce", reduce3, 1)
    branch3 = b.conv_bn_relu(branch3, f"{name}.branch3", three, 3, padding=1)
    branch4 = b.max_pool(x, f"{name}.branch4.pool", 3, 1, padding=1, ceil=True)
    branch4 = b.conv_bn_relu(branch4, f"{name}.branch4", four, 1)
    return b.concat((branch1, branch2, branch3, branch4), f"{name}.concat")
