"""Problem files of the offline commands: reading, and solving."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Final

import typer

from planning.cost.objective import missing_power_warning
from planning.cost.utilisation import overload_warning
from planning.files.json_document import MAX_FILE_BYTES, InvalidDocumentError
from planning.files.problem_file import read_problem
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.search.planning_context import context_of
from planning.search.search_clock import SearchClock
from planning.strategies.registry import known_strategies
from planning.strategies.strategy import LongSearch, Strategy
from services.cli.render.console import fault_lines, notes_console
from services.cli.support.config_files import STANDARD_INPUT
from shared.exit_status import ExitStatus
from shared.policy import Objective
from shared.suggestions import closest_name

# Indentation of the JSON documents of the planning library, in files and on standard output.
DOCUMENT_INDENT: Final = 1


@dataclass(frozen=True, slots=True)
class SolveOptions:
    """Options of a search for a plan.

    Attributes:
        seed: of all randomness.
        time_budget_s: how long the search may last.
        by_clock: whether the clock ends a search of ``auto``, too, and not only its work.
    """

    seed: int
    time_budget_s: float
    by_clock: bool = True


def load_problem(path: Path | None, strategy: str | None = None, objective: Objective | None = None) -> Problem:
    """Read a problem file and apply the overrides of the command line.

    Raises:
        typer.Exit: with status 2, after one line per fault on standard error.
    """
    names = known_strategies()
    if path is None:
        raise wrong_input("no problem file given; try --help")
    if strategy is not None and strategy not in names:
        near = closest_name(strategy, names)
        raise wrong_input(f"--strategy: there is no strategy {strategy}{near}; known: {', '.join(sorted(names))}")
    try:
        problem = read_problem(read_document(path), strategies=names)
    except InvalidDocumentError as exc:
        raise wrong_input(*map(str, exc.faults)) from exc
    policy = problem.policy
    policy = replace(policy, strategy=strategy or policy.strategy, objective=objective or policy.objective)
    problem = replace(problem, policy=policy)
    note_missing_power(problem)
    return problem


def read_document(path: Path) -> bytes:
    """Return the bytes of a file, or of standard input for -.

    Raises:
        typer.Exit: with status 2, if the file cannot be read.
    """
    # One byte more than the limit is enough for the parser to refuse a document that is too large.
    try:
        if path == STANDARD_INPUT:
            return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        with path.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise wrong_input(f"{path}: {exc.strerror or exc}") from exc


def invalid_file(path: Path, faults: Iterable[object]) -> typer.Exit:
    """Print the faults of a file, a line each; return the exception that ends the command with status 2."""
    return wrong_input(*(f"{path}: {fault}" for fault in faults))


def wrong_input(*lines: str) -> typer.Exit:
    """Print faults on standard error, a line each; return the exception that ends the command with status 2."""
    for line in fault_lines(lines):
        sys.stderr.write(line + "\n")
    return typer.Exit(ExitStatus.INPUT_WRONG)


def note_missing_power(problem: Problem) -> None:
    """Print a note if the objective is energy and the devices have no power figures."""
    print_note(missing_power_warning(problem.policy, problem.devices))


def note_overload(problem: Problem, answer: Plan | Infeasible) -> None:
    """Print a note if a plan does not keep up with the streams' rates."""
    if isinstance(answer, Plan):
        print_note(overload_warning(problem, answer.streams))


def print_note(text: str | None) -> None:
    """Print a note to standard error; nothing without a text."""
    if text is not None:
        notes_console().print(f"note: {text}", soft_wrap=True)


def solve_timed(problem: Problem, strategy: str, options: SolveOptions) -> Plan | Infeasible:
    """Return the answer of the named strategy, with the time that it took."""
    started_s = time.perf_counter()
    solver = known_strategies()[strategy]
    with solver_output_on_stderr(), interruptible_clock(solver) as now_s, shown_progress(solver) as shown:
        clock = SearchClock.of_budget(now_s, options.time_budget_s if options.by_clock else inf)
        context = context_of(problem, clock=clock)
        answer = shown.solve(problem, seed=options.seed, time_budget_s=options.time_budget_s, context=context)
    return replace(answer, solve_ms=(time.perf_counter() - started_s) * 1000)


@contextmanager
def interruptible_clock(strategy: Strategy) -> Iterator[Callable[[], float]]:
    """Return a clock in seconds that jumps to infinity at Ctrl-C, for the time of the block.

    The strategy then ends with its best plan. A second Ctrl-C ends the command, and so does the first one where the
    strategy has no plan before its end.
    """
    if not strategy.traits.picks_among_others or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield time.monotonic
        return
    interrupted = False
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, before)
        print_note("interrupted: this is the best plan so far (Ctrl-C again to end without it)")

    signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: inf if interrupted else time.monotonic()
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def shown_progress(strategy: Strategy) -> Iterator[Strategy]:
    """Return the strategy, and show the progress of a long search on a terminal for the time of the block."""
    console = notes_console()
    if not isinstance(strategy, LongSearch) or not console.is_terminal:
        yield strategy
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("searching")

        def report(done: int, steps: int, cost: float) -> None:
            bar.update(task, completed=done, total=steps, description=f"best so far {cost:.1f} ms")

        yield strategy.reporting(report)


@contextmanager
def solver_output_on_stderr() -> Iterator[None]:
    """Keep standard output for the answer for the time of the block."""
    # The solver's library prints through C's stdio, so replacing `sys.stdout` would not help. File descriptor 1 is
    # redirected instead, and C's buffer is flushed before it is restored.
    sys.stdout.flush()
    library = ctypes.CDLL(None)
    standard_output = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        library.fflush(None)
        os.dup2(standard_output, 1)
        os.close(standard_output)
