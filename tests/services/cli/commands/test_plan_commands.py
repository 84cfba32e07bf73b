import ctypes
import json
from pathlib import Path

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

from services.cli.commands.explain_commands import explain_command
from services.cli.commands.plan_commands import plan_command, schema_command
from services.cli.commands.simulate_commands import simulate_command
from services.cli.support.problem_files import solver_output_on_stderr
from tests.support.shared_paths import INSTANCES


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("plan")(plan_command)
    app.command("schema")(schema_command)
    app.command("explain")(explain_command)
    app.command("simulate")(simulate_command)
    return app


def _run(app: typer.Typer, *arguments: str, text: str | None = None):
    return CliRunner().invoke(app, list(arguments), input=text)


def test_json_is_exactly_the_answer(app: typer.Typer) -> None:
    result = _run(app, "plan", str(INSTANCES / "alexnet_pi_cloud_wifi.json"), "--json")
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
    jsonschema.validate(answer, json.loads(_run(app, "schema", "plan").stdout))


def test_people_see_the_route(app: typer.Typer) -> None:
    result = _run(app, "plan", str(INSTANCES / "alexnet_pi_cloud_wifi.json"))
    assert result.exit_code == 0
    assert "pi -> cloud" in result.stdout
    assert "proved optimal" in result.stdout


def test_what_is_left_out_for_lack_of_time_is_said(app: typer.Typer) -> None:
    path = str(INSTANCES / "alexnet_burst_4g.json")
    hurried = _run(app, "plan", path, "--time-budget-s", "0")
    assert "left out for lack of time (--time-budget-s): masud_learned" in hurried.stdout
    answer = _run(app, "plan", path, "--time-budget-s", "0", "--json").stdout
    assert json.loads(answer)["left_out"] == ["masud_learned"]
    jsonschema.validate(json.loads(answer), json.loads(_run(app, "schema", "plan").stdout))
    assert "left out" not in _run(app, "plan", path).stdout


def test_overrides(app: typer.Typer) -> None:
    path = str(INSTANCES / "alexnet_pi_cloud_wifi.json")
    result = _run(app, "plan", path, "--strategy", "local_only", "--objective", "energy", "--json")
    answer = json.loads(result.stdout)
    assert (answer["strategy"], answer["objective"]) == ("local_only", "energy")
    assert answer["cost"] == answer["predicted"]["energy_j"]


@pytest.mark.parametrize("instance", ["vgg16_too_late", "vgg16_too_large"])
def test_infeasible_is_status_3(app: typer.Typer, instance: str) -> None:
    result = _run(app, "plan", str(INSTANCES / f"{instance}.json"), "--json")
    assert result.exit_code == 3
    answer = json.loads(result.stdout)
    assert answer["feasible"] is False
    assert answer["reason"]
    assert answer["reasons"][0]["excess"] > 0
    assert _run(app, "plan", str(INSTANCES / f"{instance}.json")).exit_code == 3


def test_faults_are_one_line_each_with_path_and_status_2(app: typer.Typer) -> None:
    values = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    values["devices"]["pi"]["block_ms"]["alexnet"] = [1.0, 2.0, 3.0]
    values["links"][0]["to"] = "moon"
    values["policy"]["strategy"] = "magic"
    result = _run(app, "plan", "-", text=json.dumps(values))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "$.devices.pi.block_ms.alexnet: 3 values, but model alexnet has 11 blocks"
    assert lines[1] == "$.links[0].to: there is no device moon"
    assert lines[2].startswith("$.policy.strategy: there is no strategy magic")
    assert len(lines) == 3


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", '{"version": 1}', "[" * 100_000])
def test_what_is_no_problem_is_status_2(app: typer.Typer, text: str) -> None:
    result = _run(app, "plan", "-", "--json", text=text)
    assert result.exit_code == 2
    assert result.stderr.startswith("$")
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["plan", "explain", "simulate"])
def test_names_with_brackets_are_printed_as_they_are(app: typer.Typer, command: str) -> None:
    text = (INSTANCES / "alexnet_pi_cloud_wifi.json").read_text().replace('"pi"', '"[/pi]"')
    result = _run(app, command, "-", text=text)
    assert result.exit_code == 0
    assert "[/pi]" in result.stdout


def test_missing_file_and_unknown_strategy_are_status_2(app: typer.Typer, tmp_path: Path) -> None:
    assert _run(app, "plan", str(tmp_path / "none.json")).exit_code == 2
    assert _run(app, "plan", str(tmp_path)).exit_code == 2
    assert _run(app, "plan").exit_code == 2
    assert _run(app, "plan", str(INSTANCES / "vgg16_too_late.json"), "--strategy", "magic").exit_code == 2


def test_strategies_are_listed(app: typer.Typer) -> None:
    found = json.loads(_run(app, "plan", "--list-strategies", "--json").stdout)
    assert found[0]["name"] == "auto"
    assert all(entry["description"] and entry["citation"] for entry in found)
    shown = _run(app, "plan", "--list-strategies").stdout
    assert all(f"│ {entry['name']} " in shown for entry in found)


@pytest.mark.parametrize("kind", ["problem", "plan", "policy"])
def test_schemas_are_valid(app: typer.Typer, kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(_run(app, "schema", kind).stdout))


@pytest.mark.parametrize("path", sorted(INSTANCES.glob("*.json")), ids=lambda path: path.stem)
def test_instances_match_the_schema(app: typer.Typer, path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text()), json.loads(_run(app, "schema").stdout))


def test_explain_compares_and_says_what_would_change(app: typer.Typer) -> None:
    path = str(INSTANCES / "alexnet_pi_cloud_wifi.json")
    result = _run(app, "explain", path, "--json", "--time-budget-s", "0.1")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    by_name = {row["strategy"]: row for row in found["strategies"]}
    assert by_name["auto"]["gap"] == by_name["shortest_path"]["gap"] == 0
    assert by_name["local_only"]["gap"] > 0
    quantities = {change["quantity"] for change in found["changes"]["camera"]}
    assert "bandwidth pi - cloud" in quantities
    people = _run(app, "explain", path, "--time-budget-s", "0.1")
    assert people.exit_code == 0
    assert "What would change" in people.stdout


@pytest.mark.parametrize("columns", ["80", "50"])
def test_no_name_is_cut_off_in_a_narrow_terminal(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    path = str(INSTANCES / "two_cameras_one_server.json")
    for arguments in (["plan", "--list-strategies"], ["explain", path, "--variants"], ["plan", path]):
        assert "…" not in _run(app, *arguments).stdout


def test_explain_tells_binding_constraints(app: typer.Typer) -> None:
    values = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    values["policy"]["devices"] = {"deny": ["cloud"]}
    result = _run(app, "explain", "-", "--json", "--time-budget-s", "0.1", text=json.dumps(values))
    assert [entry["constraint"] for entry in json.loads(result.stdout)["binding"]] == ["devices"]


def test_explain_of_the_infeasible_is_status_3(app: typer.Typer) -> None:
    result = _run(app, "explain", str(INSTANCES / "vgg16_too_late.json"), "--time-budget-s", "0.1")
    assert result.exit_code == 3
    assert "deadline" in result.stdout


def test_what_a_library_prints_past_python_stays_off_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    library = ctypes.CDLL(None)
    with solver_output_on_stderr():
        library.puts(b"chatter")
    library.fflush(None)
    captured = capfd.readouterr()
    assert "chatter" not in captured.out
    assert "chatter" in captured.err


@pytest.mark.parametrize("command", ["plan", "explain", "simulate"])
def test_who_saves_energy_without_power_figures_is_told(app: typer.Typer, command: str) -> None:
    values = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    given = _run(app, command, "-", "--objective", "energy", text=json.dumps(values))
    for device in values["devices"].values():
        for key in [key for key in device if key.startswith("power_")]:
            del device[key]
    missing = _run(app, command, "-", "--objective", "energy", "--json", text=json.dumps(values))
    assert given.exit_code == missing.exit_code == 0
    assert "power" not in given.stderr
    assert "no device has power figures" in missing.stderr
    assert json.loads(missing.stdout)


@pytest.mark.parametrize("command", ["plan", "explain"])
def test_a_rate_that_the_plan_does_not_keep_up_with_is_noted(app: typer.Typer, command: str) -> None:
    values = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    calm = _run(app, command, "-", "--json", text=json.dumps(values))
    values["streams"][0]["rate_hz"] = 1000.0
    crowded = _run(app, command, "-", "--json", text=json.dumps(values))
    assert calm.exit_code == crowded.exit_code == 0
    assert "queue" not in calm.stderr
    assert "would be busy" in crowded.stderr
    assert json.loads(crowded.stdout)
