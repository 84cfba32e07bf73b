"""Latency under a changing network: CoEdge, AOFL and DistrEdge re-plan as in DistrEdge's figures 11 and 12.

The traces are this project's own, since the published ones are pictures: the bandwidth of each of four Nanos follows a
mean that shifts at 20 and 40 minutes, with fluctuations around it. Every method knows the bandwidths of the second
before.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.spatial_cases import REQUESTER, spatial_problem
from planning.cost.cost_model import CostModel
from planning.learned.ddpg_agent import Networks
from planning.learned.split_environment import SplitEnvironment
from planning.learned.split_search import follow_actor
from planning.problem.plan import Plan, Route
from planning.problem.problem import Problem
from planning.search.device_network import DeviceNetwork
from planning.search.spatial_group import SpatialGroup, spatial_group
from planning.search.volume_routes import Volume, proportional_rows, volume_route
from planning.strategies.registry import known_strategies
from planning.strategies.spatial.aofl import AOFL, linear_ratio
from planning.strategies.spatial.coedge import COEDGE
from planning.strategies.spatial.distredge import Distredge
from shared.model.onnx_file.dense_model import dense_model
from shared.model.scoring import Scorer, load_scorer

MINUTES: Final = 60
SHIFTS_MIN: Final = (20, 40)
# Means of the four devices before, between and after the shifts, Mbps.
MEANS_MBPS: Final = ((120.0, 90.0, 150.0, 60.0), (40.0, 160.0, 80.0, 120.0), (150.0, 50.0, 60.0, 140.0))
# Time until a method has new volumes after a shift: AOFL's search of all partitions, DistrEdge's fine-tuning. (F12)
AOFL_LAG_S: Final = 600.0
DISTREDGE_LAG_S: Final = 115.0


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Lengths.

    Attributes:
        every_s: time between two images that are compared.
        episodes: of DistrEdge's training before the first image.
        tuning: episodes after each shift.
        seed: of traces and training.
    """

    every_s: float = 10.0
    episodes: int = 400
    tuning: int = 100
    seed: int = 0


def bandwidths_mbps(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the bandwidth of each device in each second, [3600, 4]: a mean times a log-normal first-order process."""
    rng = np.random.default_rng(seed)
    seconds = MINUTES * 60
    values = np.empty((seconds, 4))
    level = rng.normal(size=4)
    for second in range(seconds):
        level = 0.97 * level + np.sqrt(1 - 0.97**2) * rng.normal(size=4)
        values[second] = np.array(_mean_mbps(second)) * np.exp(0.4 * level)
    return np.clip(values, 5, 300)


def latencies_ms(settings: TraceSettings) -> dict[str, list[float]]:
    """Return the latency of every image by method, in ms; `tiled` as well, where that strategy is registered."""
    trace = bandwidths_mbps(settings.seed)
    adapting: dict[str, Callable[[float, SpatialGroup], Route]] = {
        "coedge": lambda _, group: COEDGE.route(group),
        "aofl": _Aofl().route,
        "distredge": _OnlineDistredge(settings).route,
    }
    if "tiled" in known_strategies():
        adapting["tiled"] = lambda _, group: _planned(group, "tiled")
    found: dict[str, list[float]] = {name: [] for name in adapting}
    for time_s in np.arange(settings.every_s, MINUTES * 60, settings.every_s).tolist():
        known, now = (_problem(trace[int(time_s) - ago]) for ago in (1, 0))
        costs, group = CostModel(now), _group(known)
        for name, route in adapting.items():
            found[name].append(costs.latency_ms(now.streams[0], route(time_s, group)))
    return found


class _Aofl:
    """Ratios by the present bandwidths; volumes by those before the last shift until the search has ended."""

    def __init__(self) -> None:
        self._volumes: dict[int, list[tuple[int, int, int]]] = {}

    def route(self, time_s: float, group: SpatialGroup) -> Route:
        period = _period(time_s - AOFL_LAG_S)
        if period not in self._volumes:
            division = AOFL.divide(_group(_problem(MEANS_MBPS[period])))
            self._volumes[period] = [(each.start, each.stop, each.rows[-1][1]) for each in division.volumes]
        shares = linear_ratio(group)
        volumes = [
            Volume(start, stop, tuple(proportional_rows(height, shares)))
            for start, stop, height in self._volumes[period]
        ]
        return volume_route(group, volumes)


class _OnlineDistredge:
    """The stored actor splits every image by the times that it would see; it is tuned some time after each shift."""

    def __init__(self, settings: TraceSettings) -> None:
        self._settings, self._strategy = settings, Distredge()
        self._networks: dict[int, Networks] = {}
        self._actors: dict[int, Scorer] = {}
        # LC-PSS looks at the layers only, so that the volumes stay.
        self._volumes = self._strategy.partition(_group(_problem(MEANS_MBPS[0])), settings.seed)

    def route(self, time_s: float, group: SpatialGroup) -> Route:
        period = _period(time_s - DISTREDGE_LAG_S)
        if period not in self._actors:
            self._actors[period] = load_scorer(dense_model(self._trained(period).actor.layers))
        actor = self._actors[period]
        environment = SplitEnvironment(group, CostModel(group.network.problem), self._volumes)
        return volume_route(group, follow_actor(environment, lambda state: actor(state[None])[0]))

    def _trained(self, period: int) -> Networks:
        if period not in self._networks:
            problem, settings = _problem(MEANS_MBPS[period]), self._settings
            environment = SplitEnvironment(_group(problem), CostModel(problem), self._volumes)
            start = self._trained(period - 1) if period else None
            episodes = settings.tuning if period else settings.episodes
            self._networks[period] = self._strategy.search(environment, episodes, settings.seed, start).networks
        return self._networks[period]


def _planned(group: SpatialGroup, name: str) -> Route:
    answer = known_strategies()[name].solve(group.network.problem, seed=0, time_budget_s=0.1)
    assert isinstance(answer, Plan)
    return answer.streams["camera"].routes[0]


def _mean_mbps(second: float) -> tuple[float, ...]:
    return MEANS_MBPS[_period(second)]


def _period(second: float) -> int:
    return sum(second >= shift * 60 for shift in SHIFTS_MIN)


def _problem(mbps: Sequence[float]) -> Problem:
    """Return four Nanos whose links have these bandwidths."""
    problem = _base()
    rates: Mapping[str, float] = dict(zip([name for name in problem.devices if name != REQUESTER], mbps, strict=True))
    links = [
        replace(
            link, bandwidth_mbps=float(min(rates[each] for each in (link.source, link.target) if each != REQUESTER))
        )
        for link in problem.links
    ]
    return replace(problem, links=tuple(links))


def _base() -> Problem:
    return spatial_problem("vgg16", list(itertools.repeat((100.0, "nano"), 4)))


def _group(problem: Problem) -> SpatialGroup:
    group = spatial_group(DeviceNetwork(problem), problem.streams[0])
    assert group is not None
    return group
