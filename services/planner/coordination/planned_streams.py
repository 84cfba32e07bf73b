"""States of all streams, with due times, rejected choices, and devices from which an answer is awaited."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from services.planner.coordination import epoch_events as ev
from services.planner.coordination import epochs as ep
from services.planner.coordination.effects import (
    AbandonProposals,
    AddExclusion,
    AwaitResponse,
    Correct,
    Effect,
    Replan,
    ReplanAll,
    Step,
)
from services.planner.coordination.invariants import require
from services.planner.coordination.planned_stream import PlannedStream
from services.planner.coordination.response_timeouts import ResponseTimeouts
from services.planner.decisions.committed_routes import devices_of
from services.planner.problems.corrections import NO_CORRECTIONS, Corrections
from services.planner.problems.groups import group_of
from services.planner.problems.problem_from_snapshot import Exclusion
from services.planner.problems.snapshot import FleetSnapshot


class PlannedStreams:
    """The state of every stream that was ever named. Only the methods change due times and exclusions.

    A stream changes its own state only, and returns steps for the others. `perform` executes them immediately and in
    order. So when a stream ends its proposal, those of its group end before the next event.

    Attributes:
        responses: devices that owe an answer to a command.
    """

    def __init__(self, origin: str) -> None:
        """Start without streams.

        Args:
            origin: name of the planner, for events.
        """
        self.responses = ResponseTimeouts()
        self._origin = origin
        self._states: dict[str, PlannedStream] = {}
        # Only streams about which something has changed since they were planned are in here. Insertion order is the
        # order of planning: a stream that waits is not overtaken by one that changes all the time.
        self._due_at_s: dict[str, float] = {}
        self._exclusions: list[Exclusion] = []
        self._corrections = NO_CORRECTIONS

    def __iter__(self) -> Iterator[PlannedStream]:
        """Iterate over the states, oldest first."""
        return iter(self._states.values())

    def __getitem__(self, stream: str) -> PlannedStream:
        """Return the state of a stream that is known."""
        return self._states[stream]

    def get(self, stream: str) -> PlannedStream | None:
        """Return the state of a stream; None if its name is new."""
        return self._states.get(stream)

    def of(self, stream: str) -> PlannedStream:
        """Return the state of a stream, made if its name is new."""
        if stream not in self._states:
            self._states[stream] = PlannedStream(stream, self._origin)
        return self._states[stream]

    def by_name(self) -> Mapping[str, PlannedStream]:
        """Return the states by name of stream."""
        return self._states

    @property
    def exclusions(self) -> Sequence[Exclusion]:
        """Choices that devices have rejected lately."""
        return self._exclusions

    @property
    def corrections(self) -> Corrections:
        """Corrections of the cost model, which reroutes of all streams have taught."""
        return self._corrections

    @property
    def next_due_at_s(self) -> float:
        """Time at which the next stream is due; infinity if none is."""
        return min(self._due_at_s.values(), default=float("inf"))

    def restore(self, states: Iterable[PlannedStream]) -> None:
        """Take the states of a planner that was restarted."""
        self._states.update({state.name: state for state in states})

    def replan(self, stream: str, at_s: float) -> None:
        """Plan a stream no later than ``at_s``."""
        self._due_at_s[stream] = min(at_s, self._due_at_s.get(stream, at_s))

    def replan_all(self, at_s: float) -> None:
        """Plan every stream no later than ``at_s``."""
        for stream in self._states:
            self.replan(stream, at_s)

    def take_due(self, now_s: float) -> Iterator[str]:
        """Yield the streams that are due now; each stops being due when it is yielded.

        A stream that was planned with an earlier one is left out. A stream that becomes due meanwhile waits for the
        next call, so that the iteration ends.
        """
        for stream in [stream for stream, at_s in self._due_at_s.items() if at_s <= now_s]:
            if self._due_at_s.get(stream, float("inf")) <= now_s:
                del self._due_at_s[stream]
                yield stream

    def planned(self, streams: Iterable[str]) -> None:
        """Note that these streams are part of a problem that is being solved: they miss nothing and are not due."""
        for stream in streams:
            self._states[stream].findings.readiness_found(())
            self._due_at_s.pop(stream, None)

    def withdraw(self, stream: str, now_s: float) -> list[Effect]:
        """End a stream and drop its state, except its last epoch."""
        state = self.of(stream)
        effects = self.perform(state.withdraw(now_s), now_s)
        # The last epoch stays for a later stream of the same name: devices treat a lower epoch as an old command.
        self._states[stream] = PlannedStream(stream, self._origin, state.epochs.last_epoch)
        self._due_at_s.pop(stream, None)
        self._exclusions = [exclusion for exclusion in self._exclusions if exclusion.stream != stream]
        return effects

    def advance_all(self, event: ev.EpochEvent, now_s: float) -> list[Effect]:
        """Feed an event to the epochs of every stream."""
        return [effect for state in self for effect in self.perform(state.advance(event, now_s), now_s)]

    def abandon(self, streams: Iterable[str], now_s: float) -> list[Effect]:
        """End the proposals of these streams."""
        known = [self._states[stream] for stream in streams if stream in self._states]
        return [effect for state in known for effect in self.perform(state.abandon(now_s), now_s)]

    def abandon_users_of(self, device: str, snapshot: FleetSnapshot, now_s: float) -> list[Effect]:
        """End the proposals in the groups of streams whose plan in force uses a lost device.

        Such a stream needs other routes now, and a group is planned only when none of its streams has a proposal.
        """
        effects: list[Effect] = []
        for state in self:
            plan = state.epochs.committed
            is_running = state.epochs.phase is ep.EpochPhase.RUNNING and state.name in snapshot.streams
            if is_running and plan is not None and device in devices_of(plan.routes):
                effects += self.abandon(group_of(state.name, snapshot), now_s)
        return effects

    def expire_exclusions(self, now_s: float) -> None:
        """Drop exclusions whose time is over, and plan their streams again."""
        for exclusion in [each for each in self._exclusions if each.until_s <= now_s]:
            self._exclusions.remove(exclusion)
            self.replan(exclusion.stream, now_s)

    def changed_statuses(self) -> list[Effect]:
        """Return every status that has changed since it was published."""
        return [effect for state in self for effect in state.changed_status()]

    def perform(self, steps: Iterable[Step], now_s: float) -> list[Effect]:
        """Execute steps that concern several streams, and return the effects for the service in order."""
        effects: list[Effect] = []
        for step in steps:
            match step:
                case Replan(stream, at_s):
                    self.replan(stream, at_s)
                case ReplanAll():
                    self.replan_all(now_s)
                case AbandonProposals(streams):
                    effects += self.abandon(streams, now_s)
                case AddExclusion(exclusion):
                    self._exclusions.append(exclusion)
                case Correct(factors):
                    self._corrections = self._corrections.learn(factors, now_s)
                case AwaitResponse(device):
                    self.responses.expect(device, now_s)
                case _:
                    effects.append(step)
        return effects

    def validate(self, snapshot: FleetSnapshot) -> None:
        """Check every stream, and what streams share:

        - Due times and exclusions refer to known streams.
        - A stream is declared here exactly if it is declared in the snapshot.
        - A policy document and a policy in the snapshot exist together.
        - Groups agree: every stream of a group has the same group.

        Raises:
            InvariantError: one is broken.
        """
        require(self._due_at_s.keys() <= self._states.keys(), "due times", "they refer to known streams")
        excluded = {exclusion.stream for exclusion in self._exclusions}
        require(excluded <= self._states.keys(), "exclusions", "they refer to known streams")
        require(snapshot.streams.keys() <= self._states.keys(), "snapshot", "its streams have a state")
        for stream, state in self._states.items():
            subject = f"stream {stream}"
            state.validate()
            require(state.name == stream, subject, "its state has its name")
            require(
                state.is_declared == (stream in snapshot.streams), subject, "snapshot and state agree on declaration"
            )
            require(
                bool(state.policy.document) == (stream in snapshot.policies), subject, "its policy is in the snapshot"
            )
            group = group_of(stream, snapshot)
            agree = all(group_of(member, snapshot) == group for member in group if state.is_declared)
            require(agree, subject, "every stream of its group has the same group")
