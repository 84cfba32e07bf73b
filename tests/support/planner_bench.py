"""Driver of the planner's core: messages in, effects out, without a bus or a clock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.strategies import solve, strategies
from services.planner.coordination.coordinator import Coordinator
from services.planner.coordination.effects import DeleteDocument, Effect, Persist, Publish
from services.planner.coordination.planner_store import Document, Kind
from services.planner.decisions.switching_ranges import ThresholdJob
from services.planner.inbound import Inbound
from services.planner.problems.planning_jobs import Answer, PlanningJob, run_job
from shared.bus import topics
from shared.messages.alternatives import Alternatives
from shared.messages.control import COMMANDS, Prepare, Ready
from shared.messages.events import Event
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan, StreamStatus
from tests.support.planner_fleet import manifest_of
from tests.support.planner_world import PI_MS, SERVER_MS, declaration, link, presence, profile

_Result = TypeVar("_Result")


class CheckedCoordinator(Coordinator):
    """A core that checks its invariants after every event."""

    def restore(self, documents: Iterable[Document], now_s: float) -> None:
        super().restore(documents, now_s)
        self.validate()

    def handle(self, message: Inbound, now_s: float, *, own: bool = False) -> list[Effect]:
        return self._checked(super().handle(message, now_s, own=own))

    def tick(self, now_s: float) -> list[Effect]:
        return self._checked(super().tick(now_s))

    def next_job(self, now_s: float) -> tuple[list[Effect], PlanningJob | None]:
        return self._checked(super().next_job(now_s))

    def answered(self, job: PlanningJob, answer: Answer, now_s: float) -> list[Effect]:
        return self._checked(super().answered(job, answer, now_s))

    def failed(self, job: PlanningJob, reason: str, now_s: float) -> list[Effect]:
        return self._checked(super().failed(job, reason, now_s))

    def next_threshold_job(self, now_s: float) -> ThresholdJob | None:
        return self._checked(super().next_threshold_job(now_s))

    def thresholds_found(self, job: ThresholdJob, alternatives: Alternatives, now_s: float) -> list[Effect]:
        return self._checked(super().thresholds_found(job, alternatives, now_s))

    def model_stored(self, manifest: Manifest, now_s: float) -> list[Effect]:
        return self._checked(super().model_stored(manifest, now_s))

    def _checked(self, result: _Result) -> _Result:
        self.validate()
        return result


def new_core(now_s: float = 0.0) -> CheckedCoordinator:
    return CheckedCoordinator("planner", strategies().keys(), now_s)


@dataclass
class Bench:
    """A core whose strategies answer at once and whose devices are ready when `obey` is called."""

    core: Coordinator = field(default_factory=new_core)
    now_s: float = 10.0
    effects: list[Effect] = field(default_factory=list)
    solved: list[Problem] = field(default_factory=list)
    documents: dict[tuple[Kind, str], bytes] = field(default_factory=dict)

    def hear(self, *messages: Inbound, own: bool = False) -> list[Effect]:
        done: list[Effect] = []
        for message in messages:
            done += self.take(self.core.handle(message, self.now_s, own=own))
        return done

    def take(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Persist):
                # As in the store, a document that is written again is the newest.
                self.documents.pop((effect.document.kind, effect.document.key), None)
                self.documents[effect.document.kind, effect.document.key] = effect.document.value
            if isinstance(effect, DeleteDocument):
                self.documents.pop((effect.kind, effect.key), None)
        return effects

    def solve(self, problem: Problem) -> Plan | Infeasible:
        self.solved.append(problem)
        return solve(problem, seed=0, time_budget_s=0.1)

    def plan(self) -> list[Effect]:
        """Solve until nothing is due."""
        done: list[Effect] = []
        while True:
            effects, job = self.core.next_job(self.now_s)
            done += self.take(effects)
            if job is None:
                return done
            done += self.take(self.core.answered(job, run_job(job, self.solve), self.now_s))

    def obey(self) -> list[Effect]:
        """Solve until nothing is due, and have every device that was asked report that it is ready."""
        done = self.plan()
        for device, command in commands(done):
            if isinstance(command, Prepare):
                done += self.hear(Ready(device=device, stream=command.stream, epoch=command.epoch))
        return done + self.plan()

    def fleet(self) -> None:
        self.hear(presence("pi"), presence("server"), profile("pi", PI_MS), profile("server", SERVER_MS))
        self.hear(link("pi", "server", 50.0), link("server", "pi", 50.0), manifest_of(), declaration())

    def status(self, stream: str = "camera") -> StreamStatus:
        found = [each for each in published(self.effects, topics.status(stream)) if each]
        return StreamStatus.decode(found[-1])

    def restarted(self) -> "Bench":
        """Return a new core with nothing but the documents, as after SIGKILL."""
        later = Bench(new_core(self.now_s), self.now_s)
        later.documents = dict(self.documents)
        later.core.restore([Document(kind, key, value) for (kind, key), value in self.documents.items()], self.now_s)
        return later


def published(effects: Sequence[Effect], topic: str) -> list[bytes]:
    return [each.payload for each in effects if isinstance(each, Publish) and each.topic == topic]


def commands(effects: Sequence[Effect]) -> list[tuple[str, object]]:
    return [
        (each.topic.split("/")[1], COMMANDS.decode(each.payload))
        for each in effects
        if isinstance(each, Publish) and each.topic.endswith("/commands")
    ]


def events(effects: Sequence[Effect]) -> list[Event]:
    return [Event.decode(payload) for payload in published(effects, topics.events())]


def plans(effects: Sequence[Effect], stream: str = "camera") -> list[CommittedPlan]:
    return [CommittedPlan.decode(payload) for payload in published(effects, topics.plan(stream)) if payload]
