"""`segue simulate`."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.offline_commands import run_offline
from tests.support.shared_paths import INSTANCES, REPOSITORY


def test_simulate(tmp_path: Path) -> None:
    path, trace = str(INSTANCES / "alexnet_pi_cloud_wifi.json"), tmp_path / "trace.json"
    plan = json.loads(run_offline("plan", path, "--json").stdout)
    result = run_offline("simulate", path, "--json", "--requests", "5", "--trace", str(trace))
    found = json.loads(result.stdout)
    assert found["requests"] == 5
    assert found["timeline"][0]["latency_ms"] == pytest.approx(plan["predicted"]["latency_ms"])
    assert found["throughput_hz"] == pytest.approx(plan["predicted"]["throughput_hz"])
    assert json.loads(trace.read_text())["traceEvents"]
    people = run_offline("simulate", path, "--arrivals", "poisson", "--rate-hz", "3", "--background", "pi=1")
    assert people.exit_code == 0
    assert "How busy" in people.stdout


def test_simulate_a_given_plan(tmp_path: Path) -> None:
    path, answer = str(INSTANCES / "alexnet_pi_cloud_wifi.json"), tmp_path / "answer.json"
    answer.write_text(run_offline("plan", path, "--strategy", "local_only", "--json").stdout)
    found = json.loads(run_offline("simulate", path, "--plan", str(answer), "--json").stdout)
    assert (found["strategy"], found["links"]) == ("local_only", [])
    values = json.loads(answer.read_text())
    values["streams"]["camera"]["routes"][0]["stages"][0]["blocks"] = [0, 10]
    answer.write_text(json.dumps(values))
    result = run_offline("simulate", path, "--plan", str(answer))
    assert result.exit_code == 2
    assert "$.streams.camera.routes[0]" in result.stderr


@pytest.mark.parametrize(
    "options",
    [["--arrivals", "periodic"], ["--background", "moon=1"], ["--background", "pi=x"], ["--plan", "none.json"]],
)
def test_simulate_refuses(options: list[str]) -> None:
    result = run_offline("simulate", str(INSTANCES / "alexnet_pi_cloud_wifi.json"), *options)
    assert result.exit_code == 2
    assert result.stderr


def test_a_plan_that_misses_its_deadline_runs_and_says_by_how_much(tmp_path: Path) -> None:
    path, answer = INSTANCES / "vgg16_too_late.json", tmp_path / "answer.json"
    values = json.loads(path.read_bytes())
    roomy = tmp_path / "roomy.json"
    policy = {**values["policy"], "deadline_ms": None}
    streams = [{**stream, "deadline_ms": None} for stream in values["streams"]]
    roomy.write_text(json.dumps({**values, "policy": policy, "streams": streams}))
    answer.write_text(run_offline("plan", str(roomy), "--json").stdout)
    latency_ms = json.loads(answer.read_text())["predicted"]["latency_ms"]
    result = run_offline("simulate", str(path), "--plan", str(answer), "--json")
    assert result.exit_code == 0
    figures = json.loads(result.stdout)
    assert figures["late"] == 1
    assert figures["late_by_ms"] == pytest.approx(latency_ms - 100.0)
    assert f"{latency_ms - 100.0:.3f} ms past the deadline of 100 ms" in result.stderr
    people = run_offline("simulate", str(path), "--plan", str(answer))
    assert f"1, by {latency_ms - 100.0:.2f} ms" in people.stdout


def test_simulate_the_infeasible_is_status_3() -> None:
    assert run_offline("simulate", str(INSTANCES / "vgg16_too_late.json"), "--json").exit_code == 3


EXAMPLE = REPOSITORY / "examples" / "tiles"
TILES = (str(EXAMPLE / "problem.json"), "--plan", str(EXAMPLE / "plan.json"))


def test_the_example_of_tiles(tmp_path: Path) -> None:
    trace, chart = tmp_path / "trace.json", tmp_path / "chart.svg"
    result = run_offline("simulate", *TILES, "--json", "--trace", str(trace), "--plot", str(chart))
    found = json.loads(result.stdout)
    predicted = json.loads((EXAMPLE / "plan.json").read_text())["predicted"]
    assert found["timeline"][0]["latency_ms"] == pytest.approx(predicted["latency_ms"])
    spans = [event for event in json.loads(trace.read_text())["traceEvents"] if event["ph"] == "X"]
    tiles = [event["args"]["rows"] for event in spans if event["cat"] == "compute" and event["args"]["stage"] == 0]
    assert sorted(tiles) == [[0, 14], [14, 28], [28, 40], [40, 56]]
    assert "0: 0-14" in chart.read_text()
    assert "nano → pi1" in chart.read_text()
    whole = json.loads(run_offline("simulate", TILES[0], "--strategy", "local_only", "--json").stdout)
    assert found["makespan_ms"] < whole["makespan_ms"] / 2


def test_the_example_of_a_scenario() -> None:
    scenario = EXAMPLE / "scenario.json"
    found = json.loads(run_offline("simulate", *TILES, "--scenario", str(scenario), "--json").stdout)
    latencies_ms = [request["latency_ms"] for request in found["timeline"]]
    assert [request["arrival_ms"] for request in found["timeline"]] == [0, 500, 1000, 1500, 2000, 2500]
    calm_ms = latencies_ms[0]
    # pi2 is busy while the third photograph is computed, the link is slow for the fifth; all others go undisturbed.
    disturbed = [latency_ms > calm_ms + 1 for latency_ms in latencies_ms]
    assert disturbed == [False, False, True, False, True, False]
    assert [latencies_ms[place] for place in (1, 3, 5)] == pytest.approx([calm_ms] * 3)
    schema = json.loads(run_offline("schema", "scenario").stdout)
    jsonschema.validate(json.loads(scenario.read_text()), schema)


def test_the_examples_fit_their_schemas() -> None:
    for kind in ("problem", "plan"):
        schema = json.loads(run_offline("schema", kind).stdout)
        jsonschema.validate(json.loads((EXAMPLE / f"{kind}.json").read_text()), schema)


def test_changes_of_the_command_line_act_like_those_of_a_file(tmp_path: Path) -> None:
    changes = json.loads((EXAMPLE / "scenario.json").read_text())["changes"]
    file = tmp_path / "changes.json"
    file.write_text(json.dumps({"changes": changes}))
    rate = ("--requests", "4", "--arrivals", "periodic", "--rate-hz", "2", "--json")
    told = run_offline("simulate", *TILES, *rate, "--scenario", str(file)).stdout
    options: list[str] = []
    for change in changes:
        if "device" in change:
            options += ["--change", f"{change['at_ms']}:{change['device']}={change['load_factor']}"]
        else:
            options += ["--change", f"{change['at_ms']}:{change['from']},{change['to']}={change['bandwidth_mbps']}"]
    assert run_offline("simulate", *TILES, *rate, *options).stdout == told
    assert run_offline("simulate", *TILES, *rate).stdout != told


def test_what_never_ends_is_told() -> None:
    gone = ("--requests", "3", "--change", "250:pi2=gone")
    found = json.loads(
        run_offline("simulate", *TILES, "--arrivals", "periodic", "--rate-hz", "4", *gone, "--json").stdout
    )
    assert (found["requests"], found["unfinished"], found["makespan_ms"]) == (3, 2, None)
    assert [request["end_ms"] is None for request in found["timeline"]] == [False, True, True]
    people = run_offline("simulate", *TILES, "--arrivals", "periodic", "--rate-hz", "4", *gone)
    assert people.exit_code == 0
    assert "never ended" in people.stdout
    back = ("--change", "250:pi2=gone", "--change", "1000:pi2=1")
    assert json.loads(run_offline("simulate", *TILES, *back, "--json").stdout)["unfinished"] == 0


def _stage(values: dict[str, Any], index: int) -> dict[str, Any]:
    found: dict[str, Any] = values["streams"]["camera"]["routes"][0]["stages"][index]
    return found


@pytest.mark.parametrize(
    ("stage", "fields", "said"),
    [
        (0, {"tiles": [{"device": "pi1", "rows": [0, 14]}, {"device": "nano", "rows": [15, 56]}]}, "belong to no tile"),
        (0, {"tiles": [{"device": "pi1", "rows": [0, 14]}, {"device": "nano", "rows": [14, 55]}]}, "make 55 rows"),
        (0, {"tiles": [{"device": "pi1"}, {"device": "nano"}]}, "rows must be given"),
        (0, {"tiles": [{"device": "pi1", "rows": [0, 14]}, {"device": "moon", "rows": [14, 56]}]}, "device"),
        (
            3,
            {"tiles": [{"device": "pi1", "rows": [0, 1]}, {"device": "nano", "rows": [1, 2]}]},
            "(fc6) has no row data",
        ),
        (3, {"blocks": [14, 20]}, "do not run the blocks [0, 21) in order"),
    ],
)
def test_a_plan_with_wrong_tiles_is_refused(tmp_path: Path, stage: int, fields: dict[str, Any], said: str) -> None:
    values = json.loads((EXAMPLE / "plan.json").read_text())
    _stage(values, stage).update(fields)
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(values))
    result = run_offline("simulate", TILES[0], "--plan", str(file))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert all(line.startswith(f"{file}: ") for line in result.stderr.splitlines())
