from planning.strategies.spatial.deepthings import DEEPTHINGS, fused_head, quickest_head
from tests.support.spatial_problems import VGG16_LAYERS, group_of, meshed, row_chain


def test_vgg16_is_fused_up_to_its_last_pooling() -> None:
    model = row_chain(VGG16_LAYERS, input_rows=224)
    (volume,) = fused_head(group_of(meshed(model, [100.0] * 4, [50] * 4))).volumes
    assert (volume.start, volume.stop) == (0, 17)
    # 14 rows on 4 devices: three strips of ceil(14 / 4) rows, and what remains.
    assert volume.rows == ((0, 4), (4, 8), (8, 12), (12, 14))
    (volume,) = fused_head(group_of(meshed(model, [100.0] * 16, [50] * 16))).volumes
    assert [bottom - top for top, bottom in volume.rows] == [1] * 14 + [0] * 2


def test_without_reductions_the_whole_stretch_is_fused_and_the_rest_is_on_the_gateway() -> None:
    group = group_of(meshed(row_chain([(3, 1, 1, 8), (3, 1, 1, 8)], input_rows=8), [9.0, 8.0], [50] * 2))
    assert fused_head(group).volumes[0].stop == 2
    reducing = row_chain([(3, 1, 1, 8), (3, 1, 1, 8), (2, 2, 0, 4), (3, 1, 1, 4)], input_rows=8)
    route = DEEPTHINGS.route(group_of(meshed(reducing, [9.0, 8.0], [50] * 2)))
    assert [(stage.start, stage.stop, len(stage.tiles)) for stage in route.stages] == [(0, 2, 2), (2, 4, 1)]
    assert route.stages[1].device == "d1"


def test_the_quickest_number_of_layers_depends_on_the_network() -> None:
    model = row_chain([(3, 1, 1, 8), (3, 1, 1, 8), (3, 1, 1, 8)], input_rows=8)
    fast = quickest_head(group_of(meshed(model, [90.0, 90.0], [10_000] * 2)))
    assert fast.volumes[0].stop == 3
    slow = quickest_head(group_of(meshed(model, [0.9, 0.9], [1, 10_000])))
    assert slow.volumes[0].stop == 1
