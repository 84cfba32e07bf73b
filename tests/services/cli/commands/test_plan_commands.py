"""`segue plan` and `segue schema`."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from tests.support.offline_commands import run_offline
from tests.support.shared_paths import INSTANCES


def test_json_is_exactly_the_answer() -> None:
    result = run_offline("plan", str(INSTANCES / "alexnet_pi_cloud_wifi.json"), "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["feasible"]
    assert answer["optimal"]
    assert answer["strategy"] == "shortest_path"
    assert answer["predicted"]["latency_ms"] == pytest.approx(answer["lower_bound"])
    assert answer["solve_ms"] > 0
    stages = answer["streams"]["camera"]["routes"][0]["stages"]
    assert stages[0]["blocks"][0] == 0
    assert stages[-1]["blocks"][1] == 11
    jsonschema.validate(answer, json.loads(run_offline("schema", "plan").stdout))


def test_people_see_the_route() -> None:
    result = run_offline("plan", str(INSTANCES / "alexnet_pi_cloud_wifi.json"))
    assert result.exit_code == 0
    assert "pi -> cloud" in result.stdout
    assert "proved optimal" in result.stdout


def test_the_gap_to_the_proved_bound_is_said() -> None:
    options = ("--objective", "total_delay", "--strategy", "shortest_path")
    path = str(INSTANCES / "two_cameras_one_server.json")
    answer = json.loads(run_offline("plan", path, *options, "--json").stdout)
    assert 0 < answer["lower_bound"] < answer["cost"]
    gap = answer["cost"] / answer["lower_bound"] - 1
    shown = " ".join(run_offline("plan", path, *options).stdout.split())
    assert f"no plan costs less than {answer['lower_bound']:.4g} (gap {gap:.1%})" in shown


def test_what_is_left_out_for_lack_of_time_is_said() -> None:
    path = str(INSTANCES / "alexnet_burst_4g.json")
    hurried = run_offline("plan", path, "--time-budget-s", "0")
    assert re.search(r"left out for lack of time \(--time-budget-s\):.*masud_learned", hurried.stdout, re.DOTALL)
    answer = run_offline("plan", path, "--time-budget-s", "0", "--json").stdout
    assert "masud_learned" in json.loads(answer)["left_out"]
    jsonschema.validate(json.loads(answer), json.loads(run_offline("schema", "plan").stdout))
    assert "left out" not in run_offline("plan", str(INSTANCES / "alexnet_pi_cloud_4g.json")).stdout


def test_overrides() -> None:
    path = str(INSTANCES / "alexnet_pi_cloud_wifi.json")
    result = run_offline("plan", path, "--strategy", "local_only", "--objective", "energy", "--json")
    answer = json.loads(result.stdout)
    assert (answer["strategy"], answer["objective"]) == ("local_only", "energy")
    assert answer["cost"] == answer["predicted"]["energy_j"]


@pytest.mark.parametrize("instance", ["vgg16_too_late", "vgg16_too_large"])
def test_infeasible_is_status_3(instance: str) -> None:
    result = run_offline("plan", str(INSTANCES / f"{instance}.json"), "--json")
    assert result.exit_code == 3
    answer = json.loads(result.stdout)
    assert answer["feasible"] is False
    assert answer["reason"]
    assert answer["reasons"][0]["excess"] > 0
    assert run_offline("plan", str(INSTANCES / f"{instance}.json")).exit_code == 3


def test_strategies_are_listed() -> None:
    found = json.loads(run_offline("plan", "--list-strategies", "--json").stdout)
    assert found[0]["name"] == "auto"
    assert all(entry["description"] and entry["citation"] for entry in found)
    by_name = {entry["name"]: entry for entry in found}
    assert by_name["milp"]["exact"] is True
    assert by_name["milp"]["joint"] == "on a fleet"
    assert by_name["neurosurgeon"]["objectives"] == ["energy", "latency"]
    shown = run_offline("plan", "--list-strategies").stdout
    assert all(f"│ {entry['name']} " in shown for entry in found)


@pytest.mark.parametrize("kind", ["problem", "plan", "policy"])
def test_schemas_are_valid(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(run_offline("schema", kind).stdout))


@pytest.mark.parametrize("path", sorted(INSTANCES.glob("*.json")), ids=lambda path: path.stem)
def test_instances_match_the_schema(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text()), json.loads(run_offline("schema").stdout))
