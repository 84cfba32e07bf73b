"""Training of DistrEdge's actor for a problem file; writes the actor and prints the best plan of all episodes.

    python -m benchmarks.train_splits PROBLEM.json ACTOR.onnx [--episodes N] [--start OLD.onnx] [--seed N]

`--start` tunes a stored actor to a changed network, with few episodes and without random actions. The critic begins
anew. `--online` trains nothing: the stored actor splits the volumes by itself, in milliseconds.
"""

import argparse
import time
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.report import console
from planning.cost.cost_model import CostModel
from planning.files.json_document import InvalidDocumentError
from planning.files.problem_file import read_problem
from planning.learned.ddpg_agent import Networks
from planning.learned.dense_network import DenseNetwork
from planning.learned.split_environment import SplitEnvironment
from planning.learned.split_search import EPISODES, follow_actor
from planning.search.device_network import DeviceNetwork
from planning.search.spatial_group import spatial_group
from planning.search.volume_routes import Volume, volume_route
from planning.strategies.spatial.distredge import Distredge
from shared.model.onnx_file.dense_model import NoDenseModelError, dense_layers, dense_model
from shared.model.scoring import load_scorer


def split_environment(problem_file: Path, seed: int) -> SplitEnvironment:
    """Return the volumes of the first stream of a problem file.

    Raises:
        SystemExit: the file cannot be read, or there is nothing to split.
    """
    try:
        problem = read_problem(problem_file.read_bytes())
    except (OSError, InvalidDocumentError) as error:
        raise SystemExit(f"{problem_file}: {error}") from None
    group = spatial_group(DeviceNetwork(problem), problem.streams[0])
    if group is None or len(group.providers) == 1 or not group.stretches():
        raise SystemExit(f"{problem_file}: no model with rows and two devices that run it, so nothing to split")
    return SplitEnvironment(group, CostModel(problem), Distredge().partition(group, seed))


def stored_networks(file: Path, environment: SplitEnvironment) -> Networks:
    """Return the actor of a file.

    Raises:
        SystemExit: the file cannot be read, or the actor was trained for another number of devices.
    """
    try:
        layers = dense_layers(file.read_bytes())
    except (OSError, NoDenseModelError) as error:
        raise SystemExit(f"{file}: {error}") from None
    actor = DenseNetwork.of_layers(layers, True)
    if (actor.widths[0], actor.widths[-1]) != (environment.states, environment.actions):
        raise SystemExit(f"{file}: the actor is for {actor.widths[-1] + 1} devices, not {environment.actions + 1}")
    return Networks(actor)


def train(environment: SplitEnvironment, episodes: int, seed: int, start: Networks | None) -> tuple[bytes, float]:
    """Return the actor as ONNX and the latency of the best splits, in ms; shows the progress."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console()) as bar:
        task = bar.add_task("training", total=episodes)

        def report(done: int, steps: int, best_ms: float) -> None:
            bar.update(task, completed=done, description=f"best so far {best_ms:.1f} ms")

        found = Distredge().reporting(report).search(environment, episodes, seed, start)
    show(environment, found.volumes, found.latency_ms)
    return dense_model(found.networks.actor.layers), found.latency_ms


def show(environment: SplitEnvironment, volumes: tuple[Volume, ...], latency_ms: float) -> None:
    """Print the rows of every stage."""
    for stage in volume_route(environment.group, volumes).stages:
        parts = ", ".join(f"{tile.device} {list(tile.rows or ('all rows',))}" for tile in stage.tiles)
        console().print(f"blocks [{stage.start}, {stage.stop}): {parts}", highlight=False, markup=False)
    console().print(f"{latency_ms:.1f} ms")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", type=Path)
    parser.add_argument("actor", type=Path)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--online", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    environment = split_environment(options.problem, options.seed)
    if options.online:
        stored_networks(options.actor, environment)
        actor = load_scorer(options.actor.read_bytes())
        started_s = time.perf_counter()
        volumes = follow_actor(environment, lambda state: actor(state[None])[0])
        console().print(f"split in {(time.perf_counter() - started_s) * 1000:.1f} ms")
        show(environment, volumes, environment.latency_ms())
        return
    start = None if options.start is None else stored_networks(options.start, environment)
    options.actor.write_bytes(train(environment, options.episodes, options.seed, start)[0])


if __name__ == "__main__":
    main()
