"""Effects of a source's commands, in the order that keeps its promises over a crash."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from services.executor.source.journal import Journal
from services.executor.source.journal_thread import JournalThread
from services.executor.source.outcome_log import LoggedOutcome


@dataclass(frozen=True, slots=True)
class SourceStep:
    """Effect of one command: a change of the journal, and an action after the change is durable.

    Attributes:
        change: of the journal.
        action: publishes, sends or acknowledges.
        is_early: whether the action need not wait for the change.
        outcome: the change, if the log of outcomes can make it durable before the journal does.
    """

    change: Callable[[Journal], None] | None = None
    action: Callable[[], Awaitable[None]] | None = None
    is_early: bool = False
    outcome: LoggedOutcome | None = None


async def perform(steps: Sequence[SourceStep], journal: JournalThread) -> None:
    """Make the changes of steps durable, and take each action in order once its change is.

    All changes are one transaction. Actions of early steps go before it, and so do those of outcomes that are in the
    log.
    """
    changes = [step.change for step in steps if step.change is not None]
    outcomes = [step.outcome for step in steps if step.outcome is not None]
    is_logged = bool(outcomes) and journal.log_outcomes(outcomes)

    def goes_before(step: SourceStep) -> bool:
        return step.is_early or (is_logged and step.outcome is not None)

    if any(map(goes_before, steps)):
        await _act(filter(goes_before, steps))
        # What they began reaches the socket or the processor before the thread of the journal takes the interpreter.
        await asyncio.sleep(0)
    if changes:
        await journal.write(partial(_apply, changes), logged=len(outcomes) if is_logged else 0)
    await _act(step for step in steps if not goes_before(step))


async def _act(steps: Iterable[SourceStep]) -> None:
    for step in steps:
        if step.action is not None:
            await step.action()


def _apply(changes: Iterable[Callable[[Journal], None]], journal: Journal) -> None:
    for change in changes:
        change(journal)
