"""`make test-deploy`: a fleet of a server and three devices in containers, from nothing to a photograph answered.

It then kills and pauses containers while photographs are sent, and checks limits, rights, read-only roots and the end
of every service. It prints what each step took, and removes everything.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Final, TypeVar

from tools.containers.build_images import REPOSITORY, STORAGE
from tools.containers.container_engine import CommandFailed, ContainerEngine, reported_end, say
from tools.containers.trial_fleet import DEVICES, PHOTOGRAPH, TrialFleet, trial_fleet

_T = TypeVar("_T")

# What is set for each device, in the variables of device.yaml.
LIMITS: Final = {
    "camera": {"EXECUTOR_CPUS": "0.5", "EXECUTOR_MEMORY": "400m"},
    "helper": {"EXECUTOR_CPUS": "1.0", "EXECUTOR_MEMORY": "600m"},
    "server": {"EXECUTOR_CPUS": "1.5", "EXECUTOR_MEMORY": "1g"},
}
_PHOTOGRAPHS: Final = 120
_PAUSE_S: Final = 12.0
_STOP_S: Final = 10.0
_MEBIBYTE: Final = 2**20


def step(what: str, does: Callable[[], _T]) -> _T:
    """Do something, and print what it was with the time that it took."""
    begun_s = time.monotonic()
    value = does()
    say(f"{time.monotonic() - begun_s:6.1f} s  {what}")
    return value


def set_up(fleet: TrialFleet) -> None:
    """Bring a fleet up from nothing, as docs/deployment.md says, and send a photograph.

    Raises:
        CommandFailed: a step failed.
    """
    begun_s = time.monotonic()
    step("segue fleet init", fleet.init)
    step("broker, planner and collector are ready", fleet.start_server)
    for device in DEVICES:
        step(f"{device} is added and has joined", partial(fleet.enrol, device))
        step(f"{device}: executor and monitor are ready", partial(fleet.start_device, device))
    model = ("model", "add", "squeezenet1.1.onnx", "--name", "squeezenet", "--labels", "labels.txt")
    step("segue model add", lambda: fleet.operate(*model, "--preprocessing", "preprocessing.json"))
    fleet.in_broker("fleet", "add-stream", "door", "--source", "camera")
    stream = ("stream", "add", "door", "--model", "squeezenet", "--source", "camera")
    step("segue stream add: measured by all, and planned", lambda: fleet.operate(*stream))
    answer = step("segue submit: a photograph is answered", lambda: fleet.operate(*_submit()))
    say(f"          {answer.splitlines()[0]}")
    say(f"{time.monotonic() - begun_s:6.1f} s  from nothing to the answer")


class Trial:
    """The steps of the trial. Each prints one line, with the time that it took."""

    def __init__(self, fleet: TrialFleet) -> None:
        """Begin with a fleet that is not made yet."""
        self._fleet = fleet
        self._engine = fleet.engine

    def run(self) -> None:
        """Run all steps.

        Raises:
            CommandFailed: a step failed.
        """
        set_up(self._fleet)
        self._check_limits()
        self._check_turns()
        self._check_confinement()
        self._check_wrong_password()
        self._disturb()
        self._report_memory()
        self._stop_and_start_again()

    def _check_limits(self) -> None:
        """Compare what executors announce with what was set."""
        for device, found in sorted(self._fleet.presences().items()):
            cpus = float(LIMITS[device]["EXECUTOR_CPUS"])
            memory = LIMITS[device]["EXECUTOR_MEMORY"]
            mebibytes = int(memory[:-1]) * (1024 if memory.endswith("g") else 1)
            seen = f"{found['cpu_limit']} cores, {found['memory_bytes'] / _MEBIBYTE:.0f} MiB for segments"
            say(f"          {device}: set {cpus} cores, {mebibytes} MiB; announced {seen}")
            # The process itself and a reserve are left out: about 200 MiB.
            is_memory_right = mebibytes - 300 < found["memory_bytes"] / _MEBIBYTE < mebibytes
            if found["cpu_limit"] != cpus or not is_memory_right:
                raise CommandFailed(f"{device} does not see its limits: {found}")

    def _check_turns(self) -> None:
        """Check that the executors of this machine have measured one after the other."""
        spans = sorted(self._measured(device) for device in DEVICES)
        if any(later[0] < earlier[1] - 0.5 for earlier, later in pairwise(spans)):
            raise CommandFailed(f"executors have measured at the same time: {spans}")
        say(f"          measured one after the other, {', '.join(f'{end - begin:.1f} s' for begin, end in spans)}")

    def _measured(self, device: str) -> tuple[float, float]:
        log = self._logs(self._fleet.container(device, "executor"))
        found = re.search(r"^(\S+ \S+),(\d+) .*profiled squeezenet in ([\d.]+) s", log, re.M)
        if found is None:
            raise CommandFailed(f"{device} has not measured:\n{log}")
        end_s = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").timestamp() + int(found[2]) / 1000
        return end_s - float(found[3]), end_s

    def _check_confinement(self) -> None:
        for container, _ in self._fleet.containers():
            inside = "id -u; grep CapEff /proc/self/status; touch /written 2>&1"
            try:
                said = self._engine.run("exec", container, "sh", "-c", f"{inside}; true")
            except CommandFailed as error:
                raise CommandFailed(f"{container}: {error}") from None
            if "10001\n" not in said or "0000000000000000" not in said or "Read-only file system" not in said:
                raise CommandFailed(f"{container} is not confined: {said}")
        say("          every service: user 10001, no capabilities, read-only root")

    def _check_wrong_password(self) -> None:
        try:
            self._fleet.operate("device", "list", account=self._fleet.forge_account())
        except CommandFailed as error:
            said = str(error).splitlines()[-1]
            if "status 4" not in str(error) or "password" not in said:
                raise CommandFailed(f"a wrong password is not named: {error}") from None
            say(f"          wrong password: {said}")
        else:
            raise CommandFailed("a wrong password is accepted")

    def _disturb(self) -> None:
        """Send photographs while an executor is killed and another one hangs."""
        answers: list[str] = []

        def send() -> None:
            try:
                answers.append(self._fleet.operate(*_submit(_PHOTOGRAPHS), timeout_s=300.0))
            except CommandFailed as error:
                answers.append(f"failed: {error}")

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        helper, server = (self._fleet.container(device, "executor") for device in ("helper", "server"))
        restarts = self._restarts(helper)
        # As the kernel does when memory is short. After `podman kill` podman starts nothing again.
        os.kill(int(self._engine.inspect(helper, "{{.State.Pid}}")), signal.SIGKILL)
        step("helper's executor is killed, and ready again", lambda: self._back(helper, restarts))
        self._engine.run("pause", server)
        time.sleep(_PAUSE_S)
        self._engine.run("unpause", server)
        step(
            f"server's executor is ready after a pause of {_PAUSE_S:g} s",
            lambda: self._fleet.wait_ready("server", "executor"),
        )
        step(f"{_PHOTOGRAPHS} photographs are answered", sending.join)
        count = len(re.findall(rf"^{re.escape(PHOTOGRAPH)}: ", answers[0], re.M))
        say(f"          {count} of {_PHOTOGRAPHS} answered")
        if count != _PHOTOGRAPHS or answers[0].startswith("failed"):
            raise CommandFailed(f"photographs were lost: {answers[0][-2000:]}")

    def _back(self, container: str, restarts: int) -> None:
        end_s = time.monotonic() + 60.0
        while self._restarts(container) == restarts:
            if time.monotonic() > end_s:
                raise CommandFailed(f"{container} is not started again")
            time.sleep(0.1)
        project, role, _ = container.split("_")
        self._fleet.wait_ready(project, role)

    def _restarts(self, container: str) -> int:
        return int(self._engine.inspect(container, "{{.RestartCount}}"))

    def _report_memory(self) -> None:
        for container, role in self._fleet.containers():
            pid = self._engine.inspect(container, "{{.State.Pid}}")
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                kib = {row[0]: int(row[1]) for line in file if len(row := line.split()) == 3 and row[2] == "kB"}
            passed_ms, busy_ms = min(self._probe_ms(container, role) for _ in range(5))
            resident = f"{kib['Rss:'] / 1024:.0f} MiB resident, {kib['Pss:'] / 1024:.0f} with shared pages divided"
            say(f"          {container}: {resident}; health in {passed_ms:.0f} ms ({busy_ms:.0f} ms of a processor)")

    def _probe_ms(self, container: str, role: str) -> tuple[float, float]:
        """Return the time that a probe takes in a container, and its processor time."""
        inside = f"date +%s%N; segue health {role} >&2; date +%s%N; times"
        said = self._engine.run("exec", container, "sh", "-c", inside).split()
        # `times` writes user and system time of the shell, then of its children: 0m0.080000s.
        busy_s = sum(
            60 * float(minutes) + float(rest[:-1]) for minutes, rest in (each.split("m") for each in said[4:6])
        )
        return (int(said[1]) - int(said[0])) / 1e6, 1000 * busy_s

    def _stop_and_start_again(self) -> None:
        for project in (*DEVICES, "server-side"):
            begun_s = time.monotonic()
            # The broker last: the others say that they leave.
            names = [name for name, _ in self._fleet.containers() if name.startswith(f"{project}_")][::-1]
            for name in names:
                self._engine.run("stop", "--time", str(int(_STOP_S)), name)
                code = self._engine.inspect(name, "{{.State.ExitCode}}")
                if code != "0":
                    raise CommandFailed(f"{name} ended with status {code} after SIGTERM")
            say(f"{time.monotonic() - begun_s:6.1f} s  {', '.join(names)}: stopped, status 0")
            self._fleet.compose(project, "down")
        step("all containers are made anew and ready", self._start_again)
        step("segue submit: a photograph is answered", lambda: self._fleet.operate(*_submit()))
        for device in DEVICES:
            if "profiled" in self._logs(self._fleet.container(device, "executor")):
                raise CommandFailed(f"{device} has measured again in a new container")

    def _start_again(self) -> None:
        self._fleet.start_server()
        for device in DEVICES:
            self._fleet.start_device(device)

    def _logs(self, container: str) -> str:
        return self._engine.command(("sh", "-c", f"podman logs {container} 2>&1"))


def _submit(count: int = 1) -> tuple[str, ...]:
    return ("submit", *(PHOTOGRAPH for _ in range(count)), "--stream", "door", "--in-flight", "2", "--timeout-s", "120")


def main() -> None:
    """Try it; exit status 0 also where it is skipped."""
    with (
        reported_end(),
        trial_fleet(ContainerEngine(STORAGE), REPOSITORY / "build" / "deployment-trial", LIMITS) as fleet,
    ):
        Trial(fleet).run()


if __name__ == "__main__":
    main()
