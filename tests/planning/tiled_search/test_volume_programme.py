"""Stage boundaries for given shares of rows."""

import numpy as np
import pytest

from benchmarks.spatial_cases import cases
from planning.tiled_search.batch_costs import batch_costs
from planning.tiled_search.plan_batch import batch_of
from planning.tiled_search.volume_programme import best_volumes, proportional_bounds
from tests.support.tiled_problems import random_tiled_problem, tables_of, tiles_example


def test_rows_are_shared_out_in_proportion_and_nodes_without_weight_have_none() -> None:
    weights = np.array([[0.5, 0.0, 0.5], [0.2, 0.2, 0.6], [0.0, 1.0, 0.0]])
    assert proportional_bounds(weights, 7).tolist() == [[0, 4, 4, 7], [0, 1, 3, 7], [0, 0, 7, 7]]


def test_a_single_node_runs_everything_as_one_stage() -> None:
    tables = tables_of(tiles_example())
    (chain,) = best_volumes(tables, np.arange(4), np.array([[1.0, 0, 0, 0]]))
    found = batch_costs(tables, batch_of([chain]))
    assert found.devices.tolist() == [1]
    assert found.latency_ms[0] < 600


def test_four_devices_together_beat_the_plan_by_hand() -> None:
    tables = tables_of(tiles_example())
    weights = np.array([[0.25, 0.25, 0.25, 0.25]])
    (chain,) = best_volumes(tables, np.arange(4), weights)
    # The plan by hand, examples/tiles/plan.json, takes 220.8 ms.
    assert batch_costs(tables, batch_of([chain])).latency_ms[0] < 220
    assert chain.stops[-1] == len(tables.units)


def test_a_stage_is_shared_out_also_where_one_node_alone_is_quicker_in_lockstep() -> None:
    (case,) = [each for each in cases() if each.name == "DC@50"]
    tables = tables_of(case.problem())
    assert tables.nodes[:2] == ("xavier0", "tx21")
    (chain,) = best_volumes(tables, np.arange(5), np.array([[0.8, 0.2, 0, 0, 0]]))
    tiles = (np.diff(chain.bounds, axis=1) > 0).sum(axis=1).tolist()
    assert tiles[0] == 2
    assert tiles[-1] == 1


@pytest.mark.parametrize("seed", range(8))
def test_every_chain_covers_the_model_and_can_run(seed: int) -> None:
    tables = tables_of(random_tiled_problem(seed))
    weights = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]])
    chains = best_volumes(tables, np.array([1, 0, 2]), weights)
    assert chains
    for chain in chains:
        assert chain.stops[-1] == len(tables.units)
        assert (np.diff(chain.stops) > 0).all()
        assert chain.bounds[:, -1].tolist() == [tables.heights[stop] for stop in chain.stops]
    assert np.isfinite(batch_costs(tables, batch_of(chains)).latency_ms).any()
