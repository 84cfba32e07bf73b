"""The option --plot: its check before a long search, and the drawing of files."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.simulation.simulation import Timeline
from services.cli.render.plan_tables import comparison_table, simulation_tables
from services.cli.support.output_files import check_file
from shared.exit_status import InputError

PlotOption = Annotated[
    Path | None, typer.Option("--plot", help="Draw the plan's Gantt chart and the routes' envelope: .png, .svg, .html.")
]
_SUFFIXES: Final = frozenset({".png", ".svg", ".html"})
_PAGE_COLUMNS: Final = 130


def check_plot(path: Path | None) -> None:
    """Check that a picture can be drawn; None is always fine.

    Raises:
        InputError: the suffix is unknown, matplotlib is missing, or the file cannot be written.
    """
    if path is None:
        return
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"--plot {path}: the name has to end in .png, .svg or .html")
    try:
        from services.cli.render import plotting  # noqa: F401
    except ModuleNotFoundError as exc:
        if not (exc.name or "").startswith("matplotlib"):
            raise
        raise InputError("--plot needs matplotlib, which is not installed: pip install 'segue[plot]'") from exc
    check_file("--plot", path)


def save_plot(path: Path, problem: Problem, answers: Mapping[str, Plan | Infeasible], seed: int) -> None:
    """Draw the decision of ``auto``. A page (.html) also has the table of all strategies.

    Raises:
        InputError: the file cannot be written.
    """
    from services.cli.render import plotting

    plan = answers["auto"]
    if isinstance(plan, Infeasible):
        return
    figure = plotting.decision_figure(problem, plan, answers, seed)
    try:
        plotting.write_figure(figure, path, _title(problem), _as_text(comparison_table(answers)))
    except OSError as exc:
        raise InputError(f"--plot {path}: {exc.strerror or exc}") from exc


def save_gantt(path: Path, problem: Problem, plan: Plan, timeline: Timeline) -> None:
    """Draw the Gantt chart of a simulation. A page (.html) also has its tables.

    Raises:
        InputError: the file cannot be written.
    """
    from services.cli.render import plotting

    try:
        figure = plotting.gantt_figure(plan, timeline)
        plotting.write_figure(figure, path, _title(problem), _as_text(*simulation_tables(plan, timeline)))
    except OSError as exc:
        raise InputError(f"--plot {path}: {exc.strerror or exc}") from exc


def _title(problem: Problem) -> str:
    return f"Segue: {', '.join(problem.models)} on {', '.join(problem.devices)}"


def _as_text(*tables: Table) -> str:
    text = StringIO()
    console = Console(file=text, width=_PAGE_COLUMNS, no_color=True)
    for table in tables:
        console.print(table)
    return text.getvalue()
