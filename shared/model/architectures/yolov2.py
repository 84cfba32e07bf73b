"""YOLOv2 (Redmon & Farhadi, "YOLO9000: better, faster, stronger", 2017) for the 80 classes of COCO."""

from shared.model.architectures.builder import GraphBuilder
from shared.model.graph import Graph

_STAGES = (
    ((32, 3),),
    ((64, 3),),
    ((128, 3), (64, 1), (128, 3)),
    ((256, 3), (128, 1), (256, 3)),
    ((512, 3), (256, 1), (512, 3), (256, 1), (512, 3)),
    ((1024, 3), (512, 1), (1024, 3), (512, 1), (1024, 3)),
)
_PASSTHROUGH_STAGE = 5
_OUTPUTS = 5 * (5 + 80)


def yolov2(seed: int) -> Graph:
    """Build YOLOv2 for 416 x 416 images: Darknet-19, the passthrough from its fifth stage, and the detector."""
    b = GraphBuilder("yolov2", seed, (1, 3, 416, 416))
    x = passthrough = b.input
    for stage, layers in enumerate(_STAGES, start=1):
        if stage > 1:
            x = b.max_pool(x, f"pool{stage - 1}", 2, 2)
        for index, (channels, kernel) in enumerate(layers, start=1):
            x = _layer(b, x, f"conv{stage}_{index}", channels, kernel)
        if stage == _PASSTHROUGH_STAGE:
            passthrough = x
    for index in (1, 2):
        x = _layer(b, x, f"detect{index}", 1024, 3)
    fine = b.space_to_depth(_layer(b, passthrough, "passthrough", 64, 1), "reorganise", 2)
    x = _layer(b, b.concat((fine, x), "concat"), "detect3", 1024, 3)
    return b.finish(b.conv(x, "output", _OUTPUTS, 1))


def _layer(b: GraphBuilder, x: str, name: str, channels: int, kernel: int) -> str:
    x = b.conv(x, f"{name}.conv", channels, kernel, padding=kernel // 2, bias=False)
    return b.leaky_relu(b.batch_norm(x, f"{name}.bn"), 0.1)
