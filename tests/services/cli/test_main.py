"""The `segue` command as a process: help, versions, and the exit status of errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from services.cli.main import APP, DEVICE_APP, MODEL_APP, POLICY_APP, STREAM_APP
from shared.exit_status import ExitStatus
from tests.support.segue_command import run_segue
from tests.support.shared_paths import INSTANCES, REPOSITORY

FLEET = REPOSITORY / "examples" / "fleet.toml"
INSTANCE = INSTANCES / "alexnet_pi_cloud_wifi.json"
HEAVY = ("asyncio", "onnx", "onnxruntime", "numpy", "scipy", "mqtt5", "PIL", "pydantic")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from services.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    for command in ("demo", "up", "doctor", "model", "stream", "policy", "submit", "top", "plan", "broker", "executor"):
        assert f" {command} " in done.stdout


def test_help_of_plan_imports_no_solver() -> None:
    names = (*(name for name in HEAVY if name != "pydantic"), "planning.strategies.registry")
    program = (
        "import sys\n"
        "from services.cli.main import main\n"
        "try: main(['plan', '--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {names!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    assert "--list-strategies" in done.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_plan_of_a_proved_problem_imports_what_it_needs(options: list[str]) -> None:
    """No solver, no other strategy, no MQTT, no messages: the shortest path alone proves this plan."""
    unneeded = (
        *(name for name in HEAVY if name not in ("numpy", "pydantic")),
        "highspy",
        "networkx",
        "planning.scheduling",
        "planning.sensitivity",
        "planning.simulation",
        "planning.strategies.milp",
        "shared.messages",
        "shared.bus.connection",
    )
    program = (
        "import sys\n"
        "from services.cli.main import main\n"
        f"try: main(['plan', {str(INSTANCE)!r}, *{options!r}])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {unneeded!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    assert "shortest_path" in done.stdout


@pytest.mark.parametrize("app", [APP, MODEL_APP, STREAM_APP, DEVICE_APP, POLICY_APP])
def test_every_command_that_is_listed_loads_and_has_help(app: object) -> None:
    group = get_command(app)  # type: ignore[arg-type]
    context = group.make_context("segue", [], resilient_parsing=True)
    for name in group.list_commands(context):  # type: ignore[attr-defined]
        _, command, _ = group.resolve_command(context, [name])  # type: ignore[attr-defined]
        assert command.name == name
        assert command.help


def test_version() -> None:
    done = run_segue("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("segue ")


def test_a_mistyped_command_is_answered_with_a_guess() -> None:
    done = run_segue("dmo")
    assert done.returncode == ExitStatus.INPUT_WRONG
    assert "Did you mean 'demo'?" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("stream", "list"),
        ("submit", __file__, "--stream", "s"),
        ("monitor", "--device", "d", "--connect-timeout-s", "1"),
    ],
)
def test_a_broker_out_of_reach_is_status_4_and_one_line(arguments: tuple[str, ...], unused_tcp_port: int) -> None:
    done = run_segue(*arguments, "--broker", f"mqtt://127.0.0.1:{unused_tcp_port}")
    assert done.returncode == ExitStatus.OUT_OF_REACH
    assert "no MQTT 5 broker reachable" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_calibration_is_for_the_fleet_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    alone = run_segue("model", "calibrate", "nowhere.onnx")
    assert "give --broker to share it" in alone.stderr
    assert "cannot read nowhere.onnx" in alone.stderr
    monkeypatch.setenv("SEGUE_BROKER", f"mqtt://127.0.0.1:{unused_tcp_port}")
    shared = run_segue("model", "calibrate", "nowhere.onnx", "--timeout-s", "1")
    assert shared.returncode == ExitStatus.OUT_OF_REACH
    assert "no MQTT 5 broker reachable" in shared.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("up", "nowhere.toml"), "cannot read nowhere.toml"),
        (("up", str(FLEET), "--run-dir", __file__), "File exists"),
        (("up", str(FLEET), "--duration-s", "9"), "has phases, which end by themselves; --phase-s shortens them"),
        (("policy", "set", "s", "--codec", "UINT8"), "codec: 'UINT8' cannot be a name: small letters"),
        (("model", "add", "nowhere.onnx"), "cannot read nowhere.onnx"),
        (("submit", "nowhere.jpg", "--stream", "s"), "cannot read nowhere.jpg"),
        (("submit", __file__, "--stream", "a/b"), "is no stream name"),
        (("stream", "add", "a b", "--model", "m", "--source", "d"), "is no name"),
        (("policy", "set", "s", "--objective", "speed"), "speed"),
        (("policy", "set", "a b", "--deadline-ms", "5"), "'a b' is no name"),
        (("policy", "show", "a/b"), "'a/b' is no name"),
        (("explain", str(INSTANCE), "--stream", "s"), "a problem file or --stream, not both"),
        (("broker", "--host", "no.such.host.invalid"), "--host no.such.host.invalid:"),
        (("policy", "set", "s", "--strategy", "shortest_pat"), "(did you mean shortest_path?); known: "),
        (("plan", str(INSTANCE), "--strategy", "shortest_pat"), "(did you mean shortest_path?); known: "),
        (("model", "calibrate", "m.onnx", "--out", "no/where/c.json"), "--out no/where/c.json: there is no folder"),
        (("simulate", str(INSTANCE), "--trace", "no/where.json"), "--trace no/where.json: there is no folder no"),
        (("explain", str(INSTANCE), "--plot", "no/where.png"), "--plot no/where.png: there is no folder no"),
        (("submit", __file__, "--stream", "s", "--outputs", __file__), "File exists"),
        (("stream", "list", "--broker", "http://x"), "unknown scheme"),
        (("executor", "--device", "a b"), "is no device name"),
        (("executor", "--device", "a", "--watch", "nonsense"), "STREAM=DIRECTORY"),
        (("planner", "--log-level", "loud"), "log level"),
        (("monitor", "--device", "a", "--broker", "http://x"), "unknown scheme"),
        (("broker", "--port", "99999"), "65535"),
    ],
)
def test_wrong_input_is_status_2_and_says_what_is_wrong(arguments: tuple[str, ...], expected: str) -> None:
    done = run_segue(*arguments)
    assert done.returncode == ExitStatus.INPUT_WRONG
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_every_fault_of_a_policy_is_told() -> None:
    done = run_segue("policy", "set", "s", "-", stdin=json.dumps({"deadline_ms": -1, "speed": 9}))
    assert done.returncode == ExitStatus.INPUT_WRONG
    assert {line.split(": ")[1] for line in done.stderr.splitlines()} == {"deadline_ms", "speed"}


@pytest.mark.parametrize("devices", [3, [], "pi"])
def test_a_policy_whose_devices_are_no_map_is_told(devices: object) -> None:
    done = run_segue("policy", "set", "s", "-", stdin=json.dumps({"devices": devices}))
    assert done.returncode == ExitStatus.INPUT_WRONG
    assert done.stderr.startswith("error: devices: ")


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli.main", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == ExitStatus.FAILED
    assert done.stderr == "error: No space left on device\n"


def test_help_of_a_command_teaches() -> None:
    done = CliRunner().invoke(APP, ["demo", "--help"])
    assert done.exit_code == 0
    assert "SIGKILL" in done.stdout
