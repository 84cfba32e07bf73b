import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.files.problem_file import read_problem
from planning.learned.arena import NO_OCCUPANCY, Occupancy
from planning.learned.episode import FEATURES
from planning.problem.plan import Constraint, Infeasible, Plan, Route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.device_network import DeviceNetwork
from planning.strategies.masud_learned import MasudLearned, place, stored_policy
from planning.strategies.registry import strategies
from planning.strategies.shortest_path import ShortestPath
from shared.policy import Objective, Policy
from tests.support.shared_paths import REPOSITORY


def _solve(problem: Problem) -> Plan | Infeasible:
    return MasudLearned().solve(problem, seed=0, time_budget_s=1.0)


def _plan(problem: Problem) -> Plan:
    answer = _solve(problem)
    assert isinstance(answer, Plan)
    return answer


def _stages(plan: Plan, stream: str) -> list[tuple[int, str]]:
    return [(stage.stop, stage.device) for stage in plan.streams[stream].routes[0].stages]


def _instance(name: str) -> Problem:
    path = REPOSITORY / "tests" / "instances" / f"{name}.json"
    return read_problem(path.read_bytes(), strategies=strategies())


def _chains(count: int, seed: int, names: str = "abcd") -> list[Problem]:
    """Chains whose feature maps shrink, on devices of mixed speed that are all linked."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        blocks = tuple(Block(f"b{index}", int(3e6 * rng.random() * 0.5 ** (index / 3))) for index in range(12))
        work = [rng.uniform(0.2, 3) for _ in blocks]
        slowness = {name: rng.uniform(0.5, 20) for name in names}
        devices = {
            name: Device({"m": tuple(slow * time_ms for time_ms in work)}, load_factor=rng.uniform(1, 2))
            for name, slow in slowness.items()
        }
        links = tuple(Link(a, b, rng.uniform(20, 500), 1.0) for a in names for b in names if a < b)
        policy = Policy(objective=Objective.THROUGHPUT, raw_input_stays_on_source=True)
        found.append(Problem({"m": Model(1000, blocks)}, devices, links, (Stream("s", "m", "a"),), policy))
    return found


def _bottleneck_ms(problem: Problem, plan: Plan) -> float:
    throughput_hz = CostModel(problem).predict(plan.streams).throughput_hz
    assert throughput_hz is not None
    return 1000 / throughput_hz


def test_the_stored_policy_comes_close_to_the_optimum_of_chains_it_never_saw() -> None:
    gaps = []
    for problem in _chains(25, seed=3):
        best = ShortestPath().solve(problem, seed=0, time_budget_s=1.0)
        assert isinstance(best, Plan)
        plan = _plan(problem)
        gaps.append(plan.cost / best.cost - 1)
        assert plan.cost == pytest.approx(_bottleneck_ms(problem, plan))
    assert min(gaps) >= -1e-9
    assert sum(gaps) / len(gaps) < 0.25
    assert max(gaps) < 1.0


def _boards() -> Problem:
    """Hu & Mishra's Pi, Nano and server with VGG16, and memory enough for it everywhere."""
    problem = _instance("vgg16_three_devices_throughput")
    roomy = {name: replace(device, memory_bytes=None) for name, device in problem.devices.items()}
    return replace(problem, devices=roomy)


def test_a_device_that_gets_busy_loses_its_blocks() -> None:
    problem = _boards()

    def blocks_on_server(load_factor: float) -> int:
        loaded = replace(problem.devices["server"], load_factor=load_factor)
        plan = _plan(replace(problem, devices={**problem.devices, "server": loaded}))
        (stream,) = plan.streams.values()
        return sum(stage.stop - stage.start for stage in stream.routes[0].stages if stage.device == "server")

    counts = [blocks_on_server(load_factor) for load_factor in (1.0, 4.0, 16.0, 64.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] >= 10
    assert counts[-1] <= 2


def test_a_slower_network_keeps_blocks_at_the_source() -> None:
    problem = _boards()

    def blocks_at_source(bandwidth_mbps: float) -> int:
        links = tuple(replace(link, bandwidth_mbps=bandwidth_mbps) for link in problem.links)
        (stream,) = _plan(replace(problem, links=links)).streams.values()
        return stream.routes[0].stages[0].stop

    blocks = len(problem.models["vgg16"].blocks)
    counts = [blocks_at_source(bandwidth_mbps) for bandwidth_mbps in (1000.0, 20.0, 1.0, 0.02)]
    assert counts == sorted(counts)
    assert counts[0] <= 3
    assert counts[-1] == blocks


def test_the_order_of_devices_does_not_matter() -> None:
    for problem in _chains(5, seed=9):
        plan = _plan(problem)
        turned = dict(reversed(list(problem.devices.items())))
        assert _stages(_plan(replace(problem, devices=turned)), "s") == _stages(plan, "s")
        assert _plan(problem) == plan


def test_the_stored_policy_scores_every_device_by_itself() -> None:
    score = stored_policy()
    states = np.random.default_rng(0).normal(size=(9, FEATURES)).astype(np.float32)
    together = score(states)
    assert together.shape == (9,)
    assert np.ptp(together) > 0
    assert np.concatenate([score(state[None]) for state in states]) == pytest.approx(together, rel=1e-4, abs=1e-4)


def test_what_other_streams_load_or_hold_is_left_to_them() -> None:
    blocks = tuple(Block(f"b{index}", 100, parameter_bytes=100) for index in range(6))
    devices = {
        "camera": Device({"m": (5.0, *(50.0,) * 5)}),
        **{name: Device({"m": (5.0,) * 6}, memory_bytes=700) for name in ("one", "two")},
    }
    links = tuple(Link(a, b, 1000.0) for a, b in (("camera", "one"), ("camera", "two"), ("one", "two")))
    streams = tuple(Stream(name, "m", "camera") for name in ("first", "second"))
    problem = Problem({"m": Model(100, blocks)}, devices, links, streams, Policy(objective=Objective.THROUGHPUT))

    def helpers(held: Occupancy) -> set[str]:
        route = place(DeviceNetwork(problem), streams[1], stored_policy(), held)
        assert isinstance(route, Route)
        return set(route.devices) - {"camera"}

    assert helpers(NO_OCCUPANCY) == {"one", "two"}
    assert helpers(Occupancy({"one": 500.0}, {}, {}, {})) == {"two"}
    assert helpers(Occupancy({}, {}, {"two": 600.0}, {})) == {"one"}
    plan = _plan(problem)
    assert plan.cost == pytest.approx(_bottleneck_ms(problem, plan))
    both = [{stage.device for stage in plan.streams[name].routes[0].stages} for name in ("first", "second")]
    assert len(both[0] | both[1]) == 3


def test_a_source_that_cannot_run_the_first_block_has_no_plan_of_this_shape() -> None:
    problem = replace(_chains(1, seed=1)[0], policy=Policy(objective=Objective.THROUGHPUT))
    without = replace(problem, devices={**problem.devices, "a": Device()})
    assert isinstance(ShortestPath().solve(without, seed=0, time_budget_s=1.0), Plan)
    answer = _solve(without)
    assert isinstance(answer, Infeasible)
    assert "no device for block b0" in answer.reason


def test_an_enormous_problem_is_refused_instead_of_filling_the_memory() -> None:
    names = [f"d{index}" for index in range(1000)]
    blocks = tuple(Block(f"b{index}", 1) for index in range(100))
    devices = {name: Device({"m": (1.0,) * 100}) for name in names}
    answer = _solve(Problem({"m": Model(1, blocks)}, devices, (), (Stream("s", "m", "d0"),), Policy()))
    assert isinstance(answer, Infeasible)
    assert "transfers to look at" in answer.reason


def test_a_deadline_that_the_placement_misses_is_told() -> None:
    problem = _chains(1, seed=1)[0]
    latency_ms = _plan(problem).predicted.latency_ms
    fits, misses = (
        replace(problem, policy=replace(problem.policy, deadline_ms=latency_ms * share)) for share in (1.001, 0.999)
    )
    assert isinstance(_solve(fits), Plan)
    answer = _solve(misses)
    assert isinstance(answer, Infeasible)
    assert answer.reasons[0].constraint is Constraint.DEADLINE


def test_without_onnxruntime_the_answer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    # The module that imports it may have been imported by an earlier test.
    monkeypatch.delitem(sys.modules, "shared.inference_runtime", raising=False)
    stored_policy.cache_clear()
    try:
        answer = _solve(_chains(1, seed=1)[0])
    finally:
        stored_policy.cache_clear()
    assert isinstance(answer, Infeasible)
    assert "pip install 'segue[learned]'" in answer.reason


_ONLY_WHEN_ASKED = """
import sys
from pathlib import Path
from services.cli.main import main
from planning.strategies.registry import solve, strategies, with_strategy
from planning.files.problem_file import read_problem

def run(*arguments):
    sys.argv = ["segue", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code

path = sys.argv[1]
run("plan", "--list-strategies")
problem = read_problem(Path(path).read_bytes(), strategies=strategies())
for name in strategies():
    if name != "masud_learned":
        solve(with_strategy(problem, name), time_budget_s=0.05)
assert not {"onnx", "onnxruntime"} & sys.modules.keys()
run("plan", path, "--strategy", "masud_learned")
assert "onnxruntime" in sys.modules and "onnx" not in sys.modules
"""


def test_onnxruntime_is_imported_only_for_this_strategy() -> None:
    path = REPOSITORY / "tests" / "instances" / "vgg16_three_devices_throughput.json"
    command = [sys.executable, "-c", _ONLY_WHEN_ASKED, str(path)]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)
    assert found.returncode == 0, found.stderr
    assert "masud_learned" in found.stdout
