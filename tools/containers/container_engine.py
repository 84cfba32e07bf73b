"""Podman with storage, settings and networks of its own, so that nothing of the machine's changes.

`python -m tools.containers.container_engine FOLDER` writes the settings and prints the variables for a shell.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

# What podman says on every call on a machine without systemd.
_NOISE: Final = ("connect to syslog", "/run/systemd/private", "add healthchecks", "start healthchecks")
_PACKAGES: Final = "apt-get install buildah podman runc netavark aardvark-dns iptables debootstrap"
_SETTINGS: Final = """\
[containers]
# Those of podman are above the hard limits of some machines.
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
# crun refuses hybrid control groups.
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""


class Skipped(Exception):
    """This machine cannot run containers; the text says why."""


class CommandFailed(Exception):
    """A command ended with another status than 0, or took too long; the text has the end of what it printed."""


class ContainerEngine:
    """Podman.

    Attributes:
        folder: of its storage and settings.
        variables: by which podman finds them.
        environment: of commands that use it, with these variables.
    """

    def __init__(self, folder: Path) -> None:
        """Write its settings.

        Raises:
            Skipped: it cannot run here.
        """
        if os.geteuid() != 0:
            raise Skipped("only root can limit processors and memory of containers everywhere: try sudo")
        missing = [name for name in ("podman", "runc", "iptables") if shutil.which(name) is None]
        if missing:
            raise Skipped(f"{', '.join(missing)} is not installed: {_PACKAGES}")
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        storage, settings = self.folder / "storage.conf", self.folder / "containers.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder}/storage"\nrunroot = "{self.folder}/run"\n'
        )
        settings.write_text(_SETTINGS.format(folder=self.folder))
        self.variables = {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(settings)}
        self.environment = {**os.environ, **self.variables}
        try:
            self.run("info", "--format", "{{.Store.GraphDriverName}}")
        except CommandFailed as error:
            raise Skipped(f"podman does not work here: {error}") from None

    def run(self, *arguments: str, stdin: str | None = None, timeout_s: float = 120.0) -> str:
        """Run `podman ARGUMENTS` and return what it printed on standard output.

        Raises:
            CommandFailed: it failed.
        """
        return self.command(("podman", *arguments), stdin=stdin, timeout_s=timeout_s)

    def command(
        self,
        command: Sequence[str],
        *,
        stdin: str | None = None,
        timeout_s: float = 120.0,
        environment: dict[str, str] | None = None,
    ) -> str:
        """Run a command that uses this podman, and return what it printed on standard output.

        Raises:
            CommandFailed: it failed.
        """
        try:
            done = subprocess.run(
                command,
                input=stdin or "",
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                env={**self.environment, **(environment or {})},
            )
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"{' '.join(command)}: not within {timeout_s:g} s") from None
        if done.returncode != 0:
            said = "\n".join(_without_noise(done.stderr + done.stdout)[-15:])
            raise CommandFailed(f"{' '.join(command)}: status {done.returncode}\n{said}")
        return done.stdout

    def inspect(self, container: str, template: str) -> str:
        """Return what a template of `podman inspect` makes of a container."""
        return self.run("inspect", "--format", template, container).strip()

    def image_bytes(self, image: str) -> int:
        """Return the size of an image, without compression."""
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image))

    def has_image(self, image: str) -> bool:
        """Return whether an image is in the storage."""
        try:
            self.run("image", "exists", image)
        except CommandFailed:
            return False
        return True


def _without_noise(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not any(noise in line for noise in _NOISE)]


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


@contextlib.contextmanager
def reported_end() -> Iterator[None]:
    """Print why the block is skipped, which is no failure; a command that failed ends the process with status 1."""
    try:
        yield
    except Skipped as reason:
        say(f"skipped: {reason}")
    except CommandFailed as error:
        sys.exit(f"failed: {error}")
    except ExceptionGroup as group:
        failures, others = group.split(CommandFailed)
        if failures is None or others is not None:
            raise
        sys.exit(f"failed: {_first_of(failures)}")


def _first_of(group: ExceptionGroup[CommandFailed]) -> CommandFailed:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, ExceptionGroup) else first


def main() -> None:
    """Print the variables; without podman the reason on standard error, with status 1."""
    try:
        variables = ContainerEngine(Path(sys.argv[1])).variables
    except Skipped as reason:
        sys.exit(f"skipped: {reason}")
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main()
