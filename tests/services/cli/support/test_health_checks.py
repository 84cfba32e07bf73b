"""Findings about a fleet."""

from services.cli.render.fleet_view import FleetView
from services.cli.support.health_checks import Finding, Level, exposure_findings, fleet_findings, retained_findings
from services.cli.support.retained_messages import RetainedMessages
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.messages.base import Message
from shared.messages.devices import Presence, ServicePresence, State, Telemetry
from shared.messages.models import Manifest, ManifestBlock
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamDeclaration, StreamPhase, StreamStatus
from shared.service_runtime import segue_version

NOW_S = 5000.0


def view_of(*messages: tuple[str, Message]) -> FleetView:
    view = FleetView()
    for topic, message in messages:
        view.handle(topic, message.encode(), NOW_S)
    return view


def bad(view: FleetView) -> dict[str, Finding]:
    return {finding.subject: finding for finding in fleet_findings(view, NOW_S) if finding.level is Level.BAD}


def service(role: str, version: str = segue_version()) -> tuple[str, Message]:
    return topics.service_presence(role), ServicePresence(name=role, role=role, state=State.ONLINE, version=version)


def device(name: str, state: State = State.ONLINE) -> tuple[str, Message]:
    return topics.presence(name), Presence(device=name, state=state, version=segue_version())


def heard(name: str, sent_at_s: float = NOW_S) -> tuple[str, Message]:
    return topics.telemetry(name), Telemetry(device=name, sent_at_s=sent_at_s)


GOOD = (service("planner"), service("collector"), device("pi"), heard("pi"))


def test_nothing_is_wrong_with_a_good_fleet() -> None:
    assert bad(view_of(*GOOD)) == {}


def test_an_empty_broker_lacks_everything() -> None:
    found = bad(FleetView())
    assert found.keys() == {"planner", "collector", "devices"}
    assert all(finding.advice for finding in found.values())


def test_a_device_without_executor_or_monitor_is_named() -> None:
    found = bad(view_of(*GOOD, device("tv", State.OFFLINE), device("nas")))
    assert found["device tv"].advice == "segue executor --device tv"
    assert "monitor" in found["device nas"].text


def test_a_monitor_that_is_there_may_be_silent_for_a_while() -> None:
    presence = ServicePresence(name="monitor-nas", role="monitor", state=State.ONLINE)
    view = view_of(*GOOD, device("nas"), (topics.service_presence("monitor-nas"), presence))
    assert bad(view) == {}
    assert any("its monitor sent nothing" in finding.text for finding in fleet_findings(view, NOW_S))


def test_a_clock_that_is_off_is_named_with_its_difference() -> None:
    found = bad(view_of(*GOOD[:3], heard("pi", NOW_S - 4.0)))
    assert "-4.0 s" in found["device pi"].text


def test_other_versions_are_a_hint() -> None:
    hints = [f for f in fleet_findings(view_of(*GOOD[1:], service("planner", "9.9")), NOW_S) if f.level is Level.HINT]
    assert any(hint.subject == "planner" and "9.9" in hint.text for hint in hints)


def test_a_stream_that_runs_may_not_keep_up() -> None:
    running = (
        (topics.stream("s"), StreamDeclaration(stream="s", model="m", source="pi")),
        (topics.status("s"), StreamStatus(stream="s", state=StreamPhase.RUNNING, reasons=("requests come too fast",))),
    )
    view = view_of(*GOOD, *running)
    assert bad(view) == {}
    assert any(f.level is Level.HINT and "too fast" in f.text for f in fleet_findings(view, NOW_S))


def test_a_stream_that_waits_says_for_what() -> None:
    waiting = (
        (topics.stream("s"), StreamDeclaration(stream="s", model="m", source="pi")),
        (topics.status("s"), StreamStatus(stream="s", state=StreamPhase.WAITING, reasons=("the model m is unknown",))),
        (topics.stream("t"), StreamDeclaration(stream="t", model="m", source="pi")),
    )
    found = bad(view_of(*GOOD, *waiting))
    assert found["stream s"].text == "waiting: the model m is unknown"
    assert found["stream t"].text == "no planner has taken it"


def test_planners_and_whom_devices_follow_are_checked() -> None:
    ours, theirs = "ab" * 32, "cd" * 32

    def planner(name: str, key: str) -> tuple[str, ServicePresence]:
        presence = ServicePresence(name=name, role="planner", state=State.ONLINE, public_key=key)
        return topics.service_presence(name), presence

    stranger = Presence(device="pi", state=State.ONLINE, planner_keys=(theirs,))
    view = view_of(*GOOD, planner("planner", ours), (topics.presence("pi"), stranger))
    finding = next(each for each in fleet_findings(view, NOW_S) if theirs in each.text)
    assert (finding.level, finding.subject) == (Level.BAD, "device pi")
    assert finding.advice.endswith(f"segue device trust pi {ours}")
    two = view_of(*GOOD, planner("planner", ours), planner("second", theirs), (topics.presence("pi"), stranger))
    assert "2 are online (planner, second)" in bad(two)["planners"].text
    assert not any("only" in each.text for each in fleet_findings(two, NOW_S))


def test_a_plan_that_contradicts_its_model_is_named() -> None:
    manifest = Manifest(
        model="a" * 64,
        name="net",
        size_bytes=1,
        inputs=(),
        outputs=(),
        blocks=(ManifestBlock(name="b", output_bytes=1),),
    )
    route = PlanRoute(stages=(PlanStage(start=0, stop=9, device="pi"),))
    plan = CommittedPlan(stream="s", epoch=1, model="a" * 64, source="pi", strategy="auto", routes=(route,))
    view = view_of(*GOOD, (topics.manifest("a" * 64), manifest), (topics.plan("s"), plan))
    broker = BusSettings(host="hub", port=1884, root="home/v1")
    (found,) = retained_findings(RetainedMessages("home/v1"), view, NOW_S, broker)
    assert (found.level, found.subject) == (Level.BAD, "topic streams/s/plan")
    assert "end after block 9" in found.text
    assert found.advice.endswith("mosquitto_pub -V 5 -h hub -p 1884 -q 1 -r -n -t home/v1/streams/s/plan")


def test_an_open_way_to_another_machine_is_told() -> None:
    # An address for documentation (RFC 5737): no machine has it.
    found = list(exposure_findings(BusSettings.from_address("mqtt://192.0.2.10")))
    assert [(each.level, each.text.split(":")[1].strip()) for each in found] == [
        (Level.HINT, "no TLS"),
        (Level.HINT, "no account"),
    ]
    assert all("segue fleet init" in each.advice for each in found)
    for closed in ("mqtts://u:p@192.0.2.10", "mqtt://localhost", "mqtt://127.0.0.1"):
        assert list(exposure_findings(BusSettings.from_address(closed))) == []
