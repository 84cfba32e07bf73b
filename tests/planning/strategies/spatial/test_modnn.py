from dataclasses import replace

from planning.strategies.spatial.modnn import MODNN, layer_by_layer, through_the_owner
from tests.support.spatial_problems import VGG16_LAYERS, group_of, meshed, row_chain


def test_rows_of_every_layer_are_in_proportion_to_capability() -> None:
    # Speeds of 1 to 2 to 1: rows of 8 are 2, 4, 2. Borders of 7 rows are 1.75 and 5.25, rounded 2 and 5.
    problem = meshed(row_chain([(3, 1, 1, 8), (2, 1, 0, 7)], input_rows=8), [40.0, 20.0, 40.0], [50] * 3)
    volumes = layer_by_layer(group_of(problem)).volumes
    assert [(volume.start, volume.stop) for volume in volumes] == [(0, 1), (1, 2)]
    assert [volume.rows for volume in volumes] == [((0, 2), (2, 6), (6, 8)), ((0, 2), (2, 5), (5, 7))]


def test_the_hub_runs_pooling_alone() -> None:
    model = row_chain(VGG16_LAYERS, input_rows=224)
    # Pooling has no FLOPs.
    blocks = [
        replace(block, flops=block.flops * (kernel == 3))
        for block, (kernel, *_) in zip(model.blocks, VGG16_LAYERS, strict=True)
    ]
    group = group_of(meshed(replace(model, blocks=tuple(blocks)), [40.0, 20.0, 40.0], [50] * 3))
    division = through_the_owner(group)
    assert division.whole_on == "d1"
    assert [volume.start for volume in division.volumes] == [0, 1, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16]
    assert len(MODNN.route(group).stages) == 18
