"""Rows that tiles compute of every block."""

import pytest

from planning.problem.problem import Block, Model, RowProfile
from planning.tiles.rows import tile_rows
from shared.model.architectures import build
from shared.model.onnx_file import load_model, to_bytes
from shared.model.segment_graph import segment_graph
from shared.model.tiles.computed_rows import computed_rows
from shared.model.tiles.stretches import tileable_stretches
from shared.model.tiles.tile_plan import plan_tile, segment_height, segment_nodes


@pytest.mark.parametrize("name", ["tiny", "squeezenet"])
def test_a_planner_counts_the_same_rows_from_its_manifest(name: str) -> None:
    model = load_model(to_bytes(build(name)))
    ((start, stop),) = tileable_stretches(model.analysis.blocks, 0, len(model.analysis.blocks))
    segment = segment_nodes(segment_graph(model, start, stop))
    height = segment_height(segment)
    blocks = tuple(
        Block(block.name, 1, rows=RowProfile(rows.output_rows, rows.kernel, rows.stride, rows.padding))
        for block in model.analysis.blocks[start:stop]
        if (rows := block.rows) is not None
    )
    planned = Model(1, blocks, input_rows=model.graph.tensor(segment.inputs[0]).shape[2])
    for own in ((0, 1), (0, height), (height // 3, height - 1)):
        found = computed_rows(model, start, stop, plan_tile(segment, own))
        assert [count for count, _ in found] == [
            bottom - top for top, bottom in tile_rows(planned, 0, stop - start, own).computed
        ]
        assert [of for _, of in found] == [block.rows.output_rows for block in blocks if block.rows]
