"""Masud's learned partitioner: a small network, trained by REINFORCE, that places block after block."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import ClassVar

import numpy as np

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.learned.arena import Occupancy, arena_of, soonest_encodings
from planning.learned.episode import Episodes, Views
from planning.problem.plan import Constraint, Infeasible, Plan, Route, StreamPlan, Violation
from planning.problem.problem import Problem, Stream
from planning.queueing.operations import Work
from planning.search.cost_tables import build_tables, table_size
from planning.search.device_network import DeviceNetwork
from planning.search.infeasibility import diagnose, no_plan
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import make_plan, same_route_for_all, unsupported
from planning.strategies.traits import BudgetLimit, CostClass, Joint, ProblemSize, Traits, Trial
from shared.model.scoring import Scorer, load_scorer
from shared.policy import Objective

POLICY = "masud_policy.onnx"

# Largest number of transfers in the arrays of all streams: 20 blocks and 1000 devices of one stream.
MAX_TRANSFERS = 25_000_000

# A rollout calls the network once per block, so that `auto` tries it on small problems only. It comes last: onnxruntime
# may not be installed.
_ROLLOUTS = (
    BudgetLimit(ProblemSize.STREAMS, 16, least_s=0.0),
    BudgetLimit(ProblemSize.BLOCKS, 1_000, least_s=1.0),
)


@dataclass(frozen=True, slots=True)
class MasudLearned:
    """One greedy rollout of the stored policy per stream, without search.

    B decisions take O(B D) scores of a fixed cost each.

    State, action, mask and reward are those of SplitRL, which fixes two devices and six models. Here they allow any:

    - State, of every device: the work of the block and of the remaining blocks, the size of the cut, and the time to
      send it. Then the device's load and memory so far, whether it ran the block before, its utilisation and its link's
      bandwidth. The one-hot of six models is replaced by a window over the next blocks' work and transfers. FLOPs are
      expressed as time. Times are relative to an ideal share of the model, so that fast and slow fleets look alike.
    - Action: the device of the next block. The network scores each device by itself, with sums and minima over the
      others. So the order of devices does not matter, and one network serves any number of them.
    - Mask: devices whose memory is too small, without a link, or beyond the policy's number of devices. Also devices
      from which no device can run the next block, and those that the route has left before. The first block runs at the
      source: where it is `prepare`, the source decodes its photographs and never sends them on as they are. A source
      that cannot run the first block has no plan.
    - Reward: -max(P1, P2, net) becomes minus the busiest computing or sending of all devices, whatever the objective.

    The policy is trained on random chains of 4 to 28 blocks and 2 to 6 devices (`python -m benchmarks.train_masud`).
    Several streams are placed one after the other, and each counts the load and the memory of those before it. The
    answer is ``Infeasible`` where a rollout ends in a dead end or misses the deadline, although other strategies may
    have a plan.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.THROUGHPUT}), cost_class=CostClass.SEARCH, joint=Joint.IN_A_PROBLEM
    )

    name: str = "masud_learned"
    description: str = "block after block by a network that REINFORCE trained on the slowest stage (segue[learned])"
    citation: str = (
        "Masud, Optimizing distributed DNN inference for low latency and energy efficiency on edge devices; SplitRL "
        "(github.com/riwaj666/SplitRL_V1); Williams, Simple statistical gradient-following algorithms, ML 8, 1992"
    )
    trial: Trial | None = field(default=Trial(turn=240, limits=_ROLLOUTS))

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the placement of the stored policy for every stream; without onnxruntime, the package to install."""
        try:
            policy = stored_policy()
        except ModuleNotFoundError:
            return unsupported(problem, self.name, "its policy runs with onnxruntime: pip install 'segue[learned]'")
        context = context_of(problem, context)
        costs, network = context.costs, context.network
        size = sum(table_size(network, stream, len(network.able(stream.model)) + 2) for stream in problem.streams)
        if size > MAX_TRANSFERS:
            return unsupported(problem, self.name, f"{size} transfers to look at, more than {MAX_TRANSFERS}")
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            placed = place(network, stream, policy, _held(costs, plans, stream))
            if isinstance(placed, Route):
                plans[stream.name] = same_route_for_all(placed, stream.jobs)
                broken = violations(costs, plans)
            else:
                broken = (placed,)
            if broken:
                reasons = diagnose(problem, stream, time_budget_s)
                return no_plan(problem, self.name, reasons or broken, time_budget_s, proved=bool(reasons))
        return make_plan(problem, self.name, plans, costs=costs)


@cache
def stored_policy() -> Scorer:
    """Return the trained policy: [D, FEATURES] -> [D] scores.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
    """
    return load_scorer(resources.files("planning.strategies").joinpath(POLICY).read_bytes())


def place(network: DeviceNetwork, stream: Stream, policy: Scorer, held: Occupancy) -> Route | Violation:
    """Return the route on which every block runs where ``policy`` scores best among what the mask allows.

    Args:
        network: the problem's network.
        stream: one of the problem's streams.
        policy: [D, FEATURES] -> [D] scores.
        held: time and memory that earlier streams take of every device.
    """
    problem = network.problem
    tables = build_tables(problem, stream, network)
    arena = arena_of(problem, stream, tables, held)
    episode = Episodes(arena, Views(arena), np.zeros(1, dtype=np.int64))
    # The episode starts with the first block at the source.
    devices = [tables.source]
    while episode.alive[0]:
        scores = policy(episode.state()[0])
        chosen = int(np.where(episode.allowed[0], scores, -np.inf).argmax())
        episode.step(np.array([chosen]))
        devices.append(chosen)
    if not episode.done[0]:
        block = problem.models[stream.model].blocks[episode.placed[0]]
        message = f"stream {stream.name}: the policy's placement finds no device for block {block.name}"
        return Violation(Constraint.ROUTE, stream.name, message)
    following = [*devices[1:], devices[-1] if tables.sink is None else tables.sink]
    soonest = soonest_encodings(tables)
    codecs = [
        int(soonest[block + 1, here, there]) for block, (here, there) in enumerate(zip(devices, following, strict=True))
    ]
    return tables.route(devices, codecs, 1)


def _held(costs: CostModel, plans: Mapping[str, StreamPlan], stream: Stream) -> Occupancy:
    """Return the time and the memory that ``plans`` take of every device, times per request of ``stream``."""
    computing: defaultdict[str, float] = defaultdict(float)
    sending: defaultdict[str, float] = defaultdict(float)
    parameters: defaultdict[str, float] = defaultdict(float)
    working: defaultdict[str, float] = defaultdict(float)
    for name, plan in plans.items():
        other = costs.stream(name)
        blocks = costs.problem.models[other.model].blocks
        for route in plan.routes:
            for (device, work), busy_ms in costs.busy_ms(other, route).items():
                times = computing if work is Work.COMPUTE else sending
                times[device] += busy_ms * route.jobs / stream.jobs
            for stage in route.stages:
                segment = blocks[stage.start : stage.stop]
                parameters[stage.device] += sum(block.parameter_bytes for block in segment)
                working[stage.device] = max(working[stage.device], *(block.working_bytes for block in segment))
    return Occupancy(computing, sending, parameters, working)
