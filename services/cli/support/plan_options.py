"""Arguments and options that the offline commands share.

This module imports neither strategies nor solvers, so that `--help` of a command stays fast.
"""

from pathlib import Path
from typing import Annotated

import typer

from shared.policy import Objective

ProblemArgument = Annotated[Path | None, typer.Argument(help="The problem file (JSON); - reads standard input.")]
StrategyOption = Annotated[str | None, typer.Option("--strategy", help="Overrides the policy's strategy.")]
ObjectiveOption = Annotated[Objective | None, typer.Option("--objective", help="Overrides the policy's objective.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, and nothing else.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of all randomness.")]
BudgetOption = Annotated[
    float, typer.Option("--time-budget-s", min=0.0, max=3600.0, help="Roughly how long a search may last.")
]
