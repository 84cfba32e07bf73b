"""DistrEdge's actor, trained for a moment, stored, tuned and used online."""

import json
from pathlib import Path

import pytest

from benchmarks.train_splits import split_environment, stored_networks, train
from planning.learned.split_search import follow_actor
from shared.model.scoring import load_scorer
from tests.support.shared_paths import REPOSITORY

PROBLEM = REPOSITORY / "examples" / "tiles" / "problem.json"


def test_a_stored_actor_is_tuned_and_splits_by_itself(tmp_path: Path) -> None:
    environment, file = split_environment(PROBLEM, 0), tmp_path / "actor.onnx"
    data, best_ms = train(environment, 1, 0, None)
    file.write_bytes(data)
    networks = stored_networks(file, environment)
    actor = load_scorer(data)
    volumes = follow_actor(environment, lambda state: actor(state[None])[0])
    assert volumes == follow_actor(environment, lambda state: networks.actor.run(state[None])[0])
    assert environment.latency_ms() > 0
    # Tuning tries the actor's own splits first, almost without random actions.
    tuned, tuned_ms = train(environment, 1, 0, networks)
    assert tuned_ms > 0
    assert best_ms > 0
    assert tuned != data


def test_an_actor_for_other_devices_is_refused(tmp_path: Path) -> None:
    environment, file = split_environment(PROBLEM, 0), tmp_path / "actor.onnx"
    file.write_bytes(train(environment, 1, 0, None)[0])
    problem = json.loads(PROBLEM.read_text())
    del problem["devices"]["pi3"]
    problem["links"] = [link for link in problem["links"] if "pi3" not in (link["from"], link["to"])]
    smaller = tmp_path / "problem.json"
    smaller.write_text(json.dumps(problem))
    with pytest.raises(SystemExit, match="the actor is for 4 devices, not 3"):
        stored_networks(file, split_environment(smaller, 0))


def test_files_that_are_none_are_named_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"{")
    environment = split_environment(PROBLEM, 0)
    for file, said in ((tmp_path / "missing", "No such file"), (broken, "broken: ")):
        with pytest.raises(SystemExit, match=said):
            split_environment(file, 0)
        with pytest.raises(SystemExit, match=said):
            stored_networks(file, environment)
