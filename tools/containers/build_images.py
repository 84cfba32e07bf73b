"""`make images`: build the images of all roles, check what is in them, and print sizes and times.

Where no registry is reachable, the base image is made from the distribution's packages by debootstrap.
"""

import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from tools.containers.container_engine import CommandFailed, ContainerEngine, Skipped, reported_end, say
from tools.containers.host_network import unchanged_network

REPOSITORY: Final = Path(__file__).parents[2]
STORAGE: Final = REPOSITORY / "build" / "podman"
# Largest sizes, in MB of 10^6 bytes as podman shows them.
LARGEST_MB: Final = {"monitor": 160, "executor": 350, "planner": 400, "collector": 160, "broker": 180}
_SUITE: Final = "bookworm"
_PUBLIC_BASE: Final = f"docker.io/library/debian:{_SUITE}-slim"
_OWN_BASE: Final = f"localhost/segue-base:{_SUITE}"
# Certificates that this machine trusts, for a builder behind a proxy that signs with one of its own.
_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_LEFT_OUT: Final = (
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/locale/*",
)
# Strategies import what they need when they are used.
_EVERY_STRATEGY: Final = """
import sys
from planning.files.problem_file import read_problem
from planning.strategies.registry import known_strategies, solve, with_strategy
problem = read_problem(sys.stdin.buffer.read())
for name in known_strategies():
    solve(with_strategy(problem, name), time_budget_s=0.1)
"""
_PROBLEM: Final = REPOSITORY / "tests" / "instances" / "two_cameras_one_server.json"
_FORBIDDEN: Final = ("pip", "pip3", "gcc", "cc", "make")


def image_of(role: str) -> str:
    """Return the name of a role's image."""
    return f"localhost/segue-{role}"


def build_all(engine: ContainerEngine) -> None:
    """Build and check every image.

    Raises:
        CommandFailed: an image cannot be built, or is not as it must be.
        Skipped: no base image can be had.
    """
    base = _base_image(engine)
    for role, largest_mb in LARGEST_MB.items():
        begun_s = time.monotonic()
        _build(engine, role, base)
        size_mb = engine.image_bytes(image_of(role)) / 1e6
        say(f"{time.monotonic() - begun_s:6.1f} s  {role}: {size_mb:.0f} MB (at most {largest_mb})")
        if size_mb > largest_mb:
            raise CommandFailed(f"the image of the {role} has {size_mb:.0f} MB, more than {largest_mb}")
        _check(engine, role)


def _build(engine: ContainerEngine, role: str, base: str) -> None:
    secret = ("--secret", f"id=ca,src={_AUTHORITIES}") if _AUTHORITIES.exists() else ()
    engine.run(
        *("build", "--quiet", "--format", "docker", "--pull=never", "--build-arg", f"BASE={base}", *secret),
        *("--target", role, "--tag", image_of(role), "--file", str(REPOSITORY / "deploy" / "Containerfile")),
        str(REPOSITORY),
        timeout_s=1800.0,
    )


def _check(engine: ContainerEngine, role: str) -> None:
    """Check that an image runs as nobody in particular on a read-only root, and has nothing that it does not need."""
    bare = ("--rm", "--read-only", "--cap-drop", "ALL", "--no-healthcheck", "--network", "none")
    inside = "; ".join(
        [
            'test "$(id -u)" != 0 || echo it runs as root',
            f"for each in {' '.join(_FORBIDDEN)}; do command -v $each; done",
            "find / -xdev \\( -name ca.pem -o -name pip.conf \\) 2>/dev/null",
            "touch /written 2>/dev/null && echo its root can be written",
            "true",
        ]
    )
    found = engine.run("run", *bare, "--entrypoint", "sh", image_of(role), "-c", inside).split("\n")
    if any(found):
        raise CommandFailed(f"in the image of the {role}: {', '.join(filter(None, found))}")
    engine.run("run", *bare, image_of(role), "doctor", "--offline")
    if role == "planner":
        python = ("--interactive", "--entrypoint", "python3", image_of(role), "-c", _EVERY_STRATEGY)
        engine.run("run", *bare, *python, stdin=_PROBLEM.read_text())


def _base_image(engine: ContainerEngine) -> str:
    """Return a base image: the public one, or one made here."""
    for image in (_PUBLIC_BASE, _OWN_BASE):
        if engine.has_image(image):
            return image
    try:
        engine.run("pull", "--quiet", _PUBLIC_BASE, timeout_s=60.0)
        return _PUBLIC_BASE
    except CommandFailed:
        say("no registry answers: making the base image with debootstrap, about a minute")
    # Not in the repository: while it runs, the kernel's file systems are mounted in it.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="segue-base-") as folder:
        root, archive = f"{folder}/root", f"{folder}/root.tar"
        try:
            engine.command(
                ("debootstrap", "--variant=minbase", "--include=ca-certificates", _SUITE, root, *_mirror()),
                timeout_s=600.0,
            )
        except (CommandFailed, FileNotFoundError) as error:
            for mounted in ("proc", "sys"):
                subprocess.run(("umount", "--lazy", f"{root}/{mounted}"), check=False, capture_output=True)
            raise Skipped(f"there is no registry, and debootstrap fails: {error}") from None
        left_out = [f"--exclude=./{pattern}" for pattern in (*_LEFT_OUT, "dev/*")]
        subprocess.run(("tar", "-C", root, *left_out, "--numeric-owner", "-cf", archive, "."), check=True)
        engine.run("import", "--change", "ENV LANG=C.UTF-8", archive, _OWN_BASE)
    return _OWN_BASE


def _mirror() -> list[str]:
    """Return the mirror that this machine installs from; none where it is not Debian."""
    for place in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        if place.is_file() and (found := re.search(r"^(?:URIs:|deb(?: \[.*?\])?) *(\S+)", place.read_text(), re.M)):
            return [found[1]]
    return []


def main() -> None:
    """Build; exit status 0 also where it is skipped."""
    with reported_end(), unchanged_network():
        build_all(ContainerEngine(STORAGE))


if __name__ == "__main__":
    main()
