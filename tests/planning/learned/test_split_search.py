import itertools

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.learned.ddpg_agent import DdpgSettings
from planning.learned.split_environment import SplitEnvironment, rows_of_action
from planning.learned.split_search import (
    SplitSchedule,
    action_of_rows,
    follow_actor,
    published_variance,
    search_splits,
)
from planning.search.volume_routes import Volume, volume_route
from tests.support.spatial_problems import group_of, meshed, row_chain

SMALL = DdpgSettings(batch=16, stored=500, actor_layers=(16,), critic_layers=(16,))


@pytest.fixture
def environment() -> SplitEnvironment:
    """Two layers as two volumes on two devices of which the second is half as fast again."""
    problem = meshed(row_chain([(3, 1, 1, 12), (3, 1, 1, 12)], input_rows=12), [150.0, 100.0], [800, 800])
    group = group_of(problem)
    return SplitEnvironment(group, CostModel(problem), [(unit,) for unit in group.units])


def _best_of_all(environment: SplitEnvironment) -> float:
    group, costs = environment.group, CostModel(environment.group.network.problem)
    times = []
    for borders in itertools.product(range(13), repeat=2):
        volumes = [Volume(at, at + 1, ((0, border), (border, 12))) for at, border in enumerate(borders)]
        times.append(costs.latency_ms(group.stream, volume_route(group, volumes)))
    return min(times)


def test_a_short_search_finds_the_best_splits(environment: SplitEnvironment) -> None:
    seen: list[tuple[int, float]] = []
    schedule = SplitSchedule(episodes=150, exploring=120, settings=SMALL)
    found = search_splits(environment, schedule, 3, progress=lambda *step: seen.append(step))
    assert found.latency_ms <= 1.03 * _best_of_all(environment)
    assert [episode for episode, _ in seen] == list(range(1, 151))
    assert [best for _, best in seen] == sorted((best for _, best in seen), reverse=True)
    assert seen[-1][1] == found.latency_ms
    again = search_splits(environment, schedule, 3)
    assert (again.latency_ms, again.volumes) == (found.latency_ms, found.volumes)
    assert (again.networks.actor.values == found.networks.actor.values).all()


def test_given_splits_are_tried_first(environment: SplitEnvironment) -> None:
    given = [Volume(0, 1, ((0, 3), (3, 12))), Volume(1, 2, ((0, 2), (2, 12)))]
    actions = [action_of_rows(volume, 12) for volume in given]
    assert [rows_of_action(action, 12) for action in actions] == [volume.rows for volume in given]
    found = search_splits(environment, SplitSchedule(episodes=1, settings=SMALL), 0, seeds=[actions])
    assert found.volumes == tuple(given)


def test_an_actor_is_followed_online(environment: SplitEnvironment) -> None:
    volumes = follow_actor(environment, lambda state: np.array([state[0] - 0.5], np.float32))
    # The first state has no time yet: a border at -0.5 is row 3. Then d0 has ended its 3 rows.
    assert volumes[0].rows == ((0, 3), (3, 12))
    assert volumes[1].rows[0][1] > 3


def test_the_variance_is_published_for_four_and_sixteen_providers() -> None:
    assert [published_variance(count) for count in (2, 4, 16, 20)] == pytest.approx([0.1, 0.1, 1.0, 1.0])
