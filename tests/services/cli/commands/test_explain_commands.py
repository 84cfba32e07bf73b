"""`segue explain` of problem files, and its text about a running stream."""

import json

from services.cli.commands.explain_commands import reroute_lines
from shared.messages.events import Reroute, RerouteCause
from shared.messages.explanations import Explanation
from shared.messages.streams import PlanRoute, PlanStage
from tests.support.offline_commands import run_offline
from tests.support.shared_paths import INSTANCES


def test_explain_compares_and_says_what_would_change() -> None:
    path = str(INSTANCES / "alexnet_pi_cloud_wifi.json")
    result = run_offline("explain", path, "--json", "--time-budget-s", "0.1")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    by_name = {row["strategy"]: row for row in found["strategies"]}
    assert by_name["auto"]["gap"] == by_name["shortest_path"]["gap"] == 0
    assert by_name["local_only"]["gap"] > 0
    quantities = {change["quantity"] for change in found["changes"]["camera"]}
    assert "bandwidth pi - cloud" in quantities
    people = run_offline("explain", path, "--time-budget-s", "0.1")
    assert people.exit_code == 0
    assert "What would change" in people.stdout


def test_explain_tells_binding_constraints() -> None:
    values = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    values["policy"]["devices"] = {"deny": ["cloud"]}
    result = run_offline("explain", "-", "--json", "--time-budget-s", "0.1", text=json.dumps(values))
    assert [entry["constraint"] for entry in json.loads(result.stdout)["binding"]] == ["devices"]


def test_explain_of_the_infeasible_is_status_3() -> None:
    result = run_offline("explain", str(INSTANCES / "vgg16_too_late.json"), "--time-budget-s", "0.1")
    assert result.exit_code == 3
    assert "deadline" in result.stdout


def test_the_last_reroutes_of_a_stream_have_a_line_each() -> None:
    here, there = (PlanRoute(stages=(PlanStage(device=name, start=0, stop=3),)) for name in ("pi", "server"))
    first = Reroute(
        stream="s",
        epoch=1,
        cause=RerouteCause.FIRST_PLAN,
        reason="first plan",
        previous=(),
        chosen=(here,),
        objective="latency",
        predicted_before=None,
        predicted_after=5.0,
        trigger_at_s=1.0,
        committed_at_s=2.0,
    )
    second = first.model_copy(update={"epoch": 2, "reason": "link rose", "previous": (here,), "chosen": (there,)})
    title, *lines = reroute_lines(Explanation(stream="s", asker="a", epoch=2, reroutes=(first, second)))
    assert title == "Stream s runs epoch 2. Its last reroutes:"
    assert lines[0].endswith("epoch 1: first plan; pi[0,3)")
    assert lines[1].endswith("epoch 2: link rose; pi[0,3) => server[0,3)")
