"""Exact joint plans for all streams: a mixed-integer linear programme over blocks, devices and encodings."""

from dataclasses import dataclass, field, replace
from math import ceil, isfinite
from typing import ClassVar

from planning.cost.constraints import memory_violations
from planning.problem.plan import Constraint, Infeasible, Plan, StreamPlan, Violation
from planning.problem.problem import Problem
from planning.search.chain_path import cheapest_path
from planning.search.cost_tables import build_tables, latency_measure
from planning.search.infeasibility import diagnose, no_joint_plan, no_plan
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import make_plan, unsupported
from planning.search.route_programme import EASY_SIZE, LEAST_NODES, programme_size, segment_entries, solve_routes
from planning.strategies.traits import ROUTE_OBJECTIVES, CostClass, Joint, Traits, Trial
from shared.policy import Objective

# Nodes of the search tree per second of time budget, for problems of EASY_SIZE variables or fewer.
NODES_PER_SECOND = 500

# Coefficients of segments per second of time budget up to which they are counted.
SEGMENT_ENTRIES_PER_SECOND = 8_000

# Rounding error of a number of blocks.
_ROUNDING = 1e-6

# Variables per second of time budget up to which a search is worthwhile; problems of EASY_SIZE variables always are.
VARIABLES_PER_SECOND = 1_000


@dataclass(frozen=True, slots=True)
class Milp:
    """One route per stream, all of them in one programme: memory and busy times that streams share are exact.

    Binary variables place block i of a stream on device d. Arcs between neighbouring blocks carry transfers, encodings
    and segment starts. Deadlines, memory (parameters plus the largest activation), the number of devices and the
    source rule are linear. For throughput the largest busy time is minimised. The search is exponential in the worst
    case, bounded by a node limit, and exact when it ends within it.

    Where streams of one model share memory, a segment that several of them use is held once. A first programme counts
    the parameters of a block once per device, whatever the segments: it has every plan, and more. If its result does
    not fit, a second one counts segments, with a variable for each. Its bound is then that of the first.

    With ``any_routes`` the objective is not considered. The routes are those of least latency, which shows whether any
    plan keeps the constraints: of a plan with several routes per stream, one of each is a plan, too.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=ROUTE_OBJECTIVES, cost_class=CostClass.ONE_ROUTE_SEARCH, exact=True, joint=Joint.ON_A_FLEET
    )

    name: str = "milp"
    description: str = "all streams at once by mixed-integer programming: shared memory, joint throughput"
    citation: str = "this project; solver: Huangfu & Hall, HiGHS, Mathematical Programming Computation 10, 2018"
    trial: Trial | None = field(default=Trial(turn=20, objectives=ROUTE_OBJECTIVES))
    max_variables: int | None = None
    any_routes: bool = False

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best joint plan."""
        objective = problem.policy.objective
        if objective not in ROUTE_OBJECTIVES and not self.any_routes:
            return unsupported(problem, self.name, f"objective {objective.value} is not linear")
        minimised = Objective.LATENCY if self.any_routes else objective
        context = context_of(problem, context)
        network = context.network
        size = sum(programme_size(network, stream) for stream in problem.streams)
        limit = self.max_variables or max(EASY_SIZE, int(VARIABLES_PER_SECOND * time_budget_s))
        if size > limit:
            return unsupported(problem, self.name, f"about {size} variables, more than {limit} in its time")
        tables = [build_tables(problem, stream, network) for stream in problem.streams]
        # A stream without any route has a precise diagnosis; an infeasible programme has none.
        for entry in tables:
            if cheapest_path(latency_measure(entry)) is None:
                return no_plan(problem, self.name, diagnose(problem, entry.stream, time_budget_s), time_budget_s)
        nodes = LEAST_NODES + int(NODES_PER_SECOND * time_budget_s * min(1.0, EASY_SIZE / size))
        plans, solution = solve_routes(problem, minimised, tables, nodes, count_segments=False)
        bound = solution.bound
        # Many segments take longer than they are worth, unless no other strategy has a plan.
        is_worth_it = self.any_routes or segment_entries(problem) <= SEGMENT_ENTRIES_PER_SECOND * max(
            0.5, time_budget_s
        )
        if plans and memory_violations(problem, plans) and not is_worth_it:
            plans, solution = {}, replace(solution, proved=False)
        elif plans and memory_violations(problem, plans):
            plans, solution = solve_routes(problem, minimised, tables, nodes, count_segments=True)
            bound = max(bound, solution.bound) if plans else bound
        if not plans:
            if solution.proved:
                return no_joint_plan(problem, self.name, time_budget_s)
            reasons = (Violation(Constraint.SUPPORT, self.name, "no plan found within the time budget"),)
            return no_plan(problem, self.name, reasons, time_budget_s)
        if self.any_routes:
            return make_plan(problem, self.name, plans, costs=context.costs)
        return self._proved_plan(context, plans, bound, proved=solution.proved)

    def _proved_plan(
        self, context: PlanningContext, plans: dict[str, StreamPlan], bound: float, *, proved: bool
    ) -> Plan | Infeasible:
        problem = context.problem
        jobs = sum(stream.jobs for stream in problem.streams)
        objective = problem.policy.objective
        # For throughput, several routes side by side may serve the jobs of a stream better than its single route here.
        single = objective is not Objective.THROUGHPUT or jobs == len(problem.streams)
        if objective is Objective.DEADLINE and isfinite(bound):
            # The measure counts at most a quarter of a block for the latency of a job, and blocks are whole.
            bound = ceil((bound - 0.25) * jobs - _ROUNDING) / jobs
        known = bound if single else None
        return make_plan(problem, self.name, plans, optimal=single and proved, lower_bound=known, costs=context.costs)


# Tried by ``auto`` where no other strategy has a plan, for instance because streams share memory.
ANY_ROUTES = Milp(trial=Trial(turn=250, last_resort=True), any_routes=True)
