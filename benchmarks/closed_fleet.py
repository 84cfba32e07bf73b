"""From nothing to a fleet of three devices with TLS, accounts and rights: every command with its time.

    python -m benchmarks.closed_fleet [--out FILE] [--namespaces]

Commands are those that a person types, in processes of their own. Each device has a home folder of its own, and with
`--namespaces` (root, iproute2) a network namespace: its services reach the broker over a bridge. At the end a device is
revoked, and the next photograph is answered without it. Needs Mosquitto.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.report import argument_parser, console, write
from broker.process import free_port

DEVICES: Final = ("camera", "helper", "server")
_DATA: Final = Path(__file__).parents[1] / "services" / "cli" / "data"
_SEGUE: Final = (sys.executable, "-m", "services.cli.main")
_BRIDGE: Final = "segbench0"
_BRIDGE_ADDRESS: Final = "10.77.7.1"
_TIMEOUT_S: Final = 120.0


@dataclass(slots=True)
class Session:
    """A person's terminal: commands with their times, and services in the background.

    Attributes:
        folder: where everything is.
        is_separated: devices have network namespaces.
        steps: what was done, seconds of each, and seconds since the beginning.
    """

    folder: Path
    is_separated: bool
    steps: list[dict[str, Any]] = field(default_factory=list)
    _services: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _began_s: float = field(default_factory=time.perf_counter)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Take the time of a block."""
        began_s = time.perf_counter()
        yield
        now_s = time.perf_counter()
        self.steps.append({"step": text, "seconds": round(now_s - began_s, 2), "at_s": round(now_s - self._began_s, 2)})

    def segue(self, *arguments: str, member: str | None = None, account: str | None = None, stdin: str = "") -> str:
        """Run a command to its end; return its output.

        Raises:
            RuntimeError: it failed; the text has its errors.
        """
        done = subprocess.run(
            [*self._prefix(member), *_SEGUE, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=self._environment(member, account),
        )
        if done.returncode:
            raise RuntimeError(f"segue {' '.join(arguments[:2])} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def start(self, *arguments: str, member: str | None = None, account: str | None = None) -> None:
        """Start a service, with a log of its own."""
        with (self.folder / f"{member or ''}{arguments[0]}.log").open("wb") as log:
            command = [*self._prefix(member), *_SEGUE, *arguments]
            environment = self._environment(member, account)
            self._services.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))

    def stop(self) -> None:
        """End the services, the broker last."""
        for service in reversed(self._services):
            service.terminate()
            service.wait(_TIMEOUT_S)

    def _prefix(self, member: str | None) -> Sequence[str]:
        return ("ip", "netns", "exec", f"seg-{member}") if self.is_separated and member in DEVICES else ()

    def _environment(self, member: str | None, account: str | None) -> Mapping[str, str]:
        environment = {**os.environ, "SEGUE_FLEET": str(self.folder / "fleet")}
        environment["XDG_DATA_HOME"] = str(self.folder / (member or "first"))
        environment.pop("SEGUE_BROKER", None)
        if account is not None:
            environment["SEGUE_BROKER"] = str(self.folder / "fleet" / "accounts" / f"{account}.json")
        return environment


@contextlib.contextmanager
def namespaces() -> Iterator[None]:
    """Connect a network namespace for each device to a bridge, for the time of the block."""

    def ip(arguments: str, *, is_checked: bool = True) -> None:
        subprocess.run(["ip", *arguments.split()], check=is_checked, capture_output=not is_checked)

    try:
        ip(f"link add {_BRIDGE} type bridge")
        ip(f"addr add {_BRIDGE_ADDRESS}/24 dev {_BRIDGE}")
        ip(f"link set {_BRIDGE} up")
        for number, device in enumerate(DEVICES, start=10):
            ip(f"netns add seg-{device}")
            ip(f"link add segb-{device} type veth peer name eth0 netns seg-{device}")
            ip(f"link set segb-{device} master {_BRIDGE} up")
            ip(f"-n seg-{device} addr add 10.77.7.{number}/24 dev eth0")
            ip(f"-n seg-{device} link set eth0 up")
            ip(f"-n seg-{device} link set lo up")
        yield
    finally:
        for device in DEVICES:
            ip(f"netns del seg-{device}", is_checked=False)
        ip(f"link del {_BRIDGE}", is_checked=False)


def run(session: Session, host: str) -> dict[str, Any]:
    """Make the fleet, submit a photograph, revoke a device, and submit another one."""
    photograph = str(_DATA / "photos" / "coffee.jpg")
    with session.step("segue fleet init"):
        session.segue("fleet", "init", str(session.folder / "fleet"), "--host", host, "--port", str(free_port()))
    with session.step("segue broker, planner, collector (started)"):
        session.start("broker", "--fleet", str(session.folder / "fleet"))
        session.start("planner", account="planner")
        session.start("collector", account="collector")
    with session.step("segue fleet add-device, three times"):
        strings = {device: session.segue("fleet", "add-device", device) for device in DEVICES}
    with session.step("segue device join, three times; executors and monitors (started)"):
        for device, string in strings.items():
            session.segue("device", "join", "-", member=device, stdin=string)
            session.start("executor", member=device)
            session.start("monitor", member=device)
    with session.step("segue model add"):
        labels = ("--labels", str(_DATA / "imagenet_labels.json"))
        model = str(_DATA / "squeezenet1.1.onnx")
        # The network was trained in Caffe.
        preprocessing = session.folder / "preprocessing.json"
        preprocessing.write_text('{"kind": "image", "channel_order": "BGR", "mean": [104, 117, 123]}')
        options = (*labels, "--preprocessing", str(preprocessing))
        session.segue("model", "add", model, "--name", "squeezenet", *options, account="operator")
    with session.step("segue fleet add-stream, segue stream add (routed)"):
        session.segue("fleet", "add-stream", "door", "--source", "camera")
        session.segue("stream", "add", "door", "--model", "squeezenet", "--source", "camera", account="operator")
    with session.step("segue fleet add-application, segue device join"):
        string = session.segue("fleet", "add-application", "bell", "--stream", "door")
        session.segue("device", "join", "-", member="bell", stdin=string)
    with session.step("segue submit"):
        answer = session.segue("submit", photograph, "--stream", "door", member="bell")
    with session.step("segue fleet revoke server"):
        session.segue("fleet", "revoke", "server")
    with session.step("segue submit, without the device"):
        second = session.segue("submit", photograph, "--stream", "door", member="bell")
    return {"steps": session.steps, "answers": [answer.splitlines()[0], second.splitlines()[0]]}


def headline(results: Mapping[str, Any]) -> str:
    """Summarise the results in one line."""
    first = next(step for step in results["steps"] if step["step"] == "segue submit")
    return f"a photograph is answered {first['at_s']:.1f} s after the first command"


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("closed_fleet", __doc__, quick="the same")
    parser.add_argument("--namespaces", action="store_true", help="a network namespace for every device (root)")
    options = parser.parse_args()
    separated = namespaces() if options.namespaces else contextlib.nullcontext()
    with tempfile.TemporaryDirectory(prefix="segue-") as name, separated:
        session = Session(Path(name), options.namespaces)
        try:
            results = run(session, _BRIDGE_ADDRESS if options.namespaces else "127.0.0.1")
        finally:
            session.stop()
    for step in results["steps"]:
        console().print(f"{step['at_s']:8.1f} s {step['seconds']:6.1f} s  {step['step']}")
    for answer in results["answers"]:
        console().print(answer)
    console().print(headline(results))
    write(options.out, {"headline": headline(results), **results})


if __name__ == "__main__":
    main()
