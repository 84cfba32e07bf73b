"""Catalogue of reference architectures, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from shared.model.architectures.alexnet import alexnet
from shared.model.architectures.googlenet import googlenet
from shared.model.architectures.inceptionv3 import inceptionv3
from shared.model.architectures.mobilenetv2 import mobilenetv2
from shared.model.architectures.resnet import resnet18, resnet50
from shared.model.architectures.squeezenet import squeezenet
from shared.model.architectures.tiny import tiny
from shared.model.architectures.vgg16 import vgg16
from shared.model.architectures.yolov2 import yolov2
from shared.model.errors import UnknownArchitectureError
from shared.model.graph import Graph

# Functions from a seed to the graph, by name.
ARCHITECTURES: Mapping[str, Callable[[int], Graph]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            alexnet,
            vgg16,
            resnet18,
            resnet50,
            mobilenetv2,
            squeezenet,
            googlenet,
            inceptionv3,
            yolov2,
            tiny,
        )
    }
)


def build(name: str, seed: int = 0) -> Graph:
    """Build a reference architecture; its weights are recipes, so no large array is allocated.

    Raises:
        UnknownArchitectureError: No architecture has this name.
    """
    try:
        return ARCHITECTURES[name](seed)
    except KeyError:
        raise UnknownArchitectureError(
            f"no architecture is called {name!r}: there are {', '.join(sorted(ARCHITECTURES))}"
        ) from None
