"""Findings of planning for one stream: missing preconditions, constraints that cannot be met, and overload."""

from collections.abc import Sequence

from planning.problem.plan import Infeasible
from services.planner.coordination.effects import Effect, announcement
from services.planner.coordination.invariants import require
from shared.messages.events import EventKind
from shared.messages.streams import StreamPhase


class StreamFindings:
    """The reasons that the status of one stream gives. Only the methods change them.

    A missing precondition hides constraints that cannot be met, and these hide an overload.
    """

    def __init__(self, stream: str, origin: str) -> None:
        """Start without findings.

        Args:
            stream: name of the stream.
            origin: name of the planner, for events.
        """
        self._stream = stream
        self._origin = origin
        self._waiting: tuple[str, ...] = ()
        # Whether devices have refused, so that waiting is of no use.
        self._is_refused = False
        self._infeasible: tuple[str, ...] = ()
        # Devices whose profile may still make a plan possible.
        self._measuring: tuple[str, ...] = ()
        # Kinds and subjects of broken constraints, without figures: noise in a figure causes no second event.
        self._infeasible_kinds: frozenset[tuple[str, str]] = frozenset()
        self._overload = ""

    @property
    def has_overload(self) -> bool:
        """A device was found not to keep up with the requests."""
        return bool(self._overload)

    def state(self, *, is_running: bool) -> StreamPhase:
        """Return the state that the status gives."""
        if self._waiting:
            return StreamPhase.INFEASIBLE if self._is_refused else StreamPhase.WAITING
        if self._infeasible:
            return StreamPhase.WAITING if self._measuring else StreamPhase.INFEASIBLE
        return StreamPhase.RUNNING if is_running else StreamPhase.PLANNING

    def reasons(self, *, is_running: bool) -> tuple[str, ...]:
        """Return the reasons that the status gives."""
        overload = (self._overload,) if self._overload and is_running else ()
        measuring = tuple(f"device {device} is still measuring" for device in self._measuring if self._infeasible)
        return self._waiting or (*measuring, *self._infeasible) or overload

    def readiness_found(
        self, reasons: tuple[str, ...], *, is_refused: bool = False, measuring: Sequence[str] = ()
    ) -> None:
        """Note what is missing before the stream can be planned; nothing if it can be planned.

        Args:
            reasons: as text.
            is_refused: whether every device has refused to run the model, so that waiting is of no use.
            measuring: devices that still measure the model. A plan that is not possible yet may be with them.
        """
        self._waiting = reasons
        self._is_refused = is_refused
        self._measuring = tuple(measuring)

    def strategy_failed(self, reason: str) -> None:
        """Note that a strategy raised an exception, or returned a plan that executors cannot run."""
        self._infeasible = (reason,)

    def feasibility_found(self, outcome: Infeasible | None, rejected: Sequence[str], now_s: float) -> list[Effect]:
        """Note which constraints cannot be met, and announce them if their kinds are new.

        Args:
            outcome: the strategy's reasons; None if every constraint can be met.
            rejected: choices that devices have rejected, as text.
            now_s: planner's clock.
        """
        if outcome is None:
            self._infeasible, self._infeasible_kinds = (), frozenset()
            return []
        # A rejected choice may be the reason why no plan exists, so the status gives both.
        self._infeasible = (*(violation.message for violation in outcome.reasons), *rejected)
        known_kinds = self._infeasible_kinds
        self._infeasible_kinds = frozenset((each.constraint.value, each.subject) for each in outcome.reasons)
        if known_kinds == self._infeasible_kinds:
            return []
        finding = "no plan is possible" if outcome.proved else "no plan was found"
        text = f"stream {self._stream}: {finding}: {'; '.join(self._infeasible)}"
        data = {"reasons": list(self._infeasible)}
        return [announcement(self._origin, EventKind.INFEASIBLE, text, now_s, stream=self._stream, data=data)]

    def overload_found(self, text: str) -> None:
        """Note which device does not keep up with the requests; nothing if every device does."""
        self._overload = text

    def validate(self) -> None:
        """Check that kinds of constraints are noted only together with their texts.

        Raises:
            InvariantError: they are not.
        """
        has_texts = bool(self._infeasible) or not self._infeasible_kinds
        require(has_texts, f"stream {self._stream}", "constraint kinds are noted with their texts")
