"""Small file systems that become full or read-only, under the data folders of services. They need root on Linux."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BALLAST: Final = "ballast"
_CHUNK: Final = bytes(65_536)


def can_mount() -> bool:
    """Return whether this process may mount file systems of its own."""
    return os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None and Path("/dev/loop-control").exists()


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """An ext4 file system in a file, mounted on a folder.

    Attributes:
        image: the file.
        folder: where it is mounted.
    """

    image: Path
    folder: Path

    async def fill(self) -> None:
        """Write a file until no byte is free."""
        await asyncio.to_thread(self._fill)

    async def empty(self) -> None:
        """Remove the file that `fill` wrote."""
        await asyncio.to_thread((self.folder / _BALLAST).unlink, missing_ok=True)

    async def fail(self) -> None:
        """Make the kernel find a fault: it turns the file system read-only under open files, as for a worn-out card."""
        await asyncio.to_thread(self._fail)

    async def repair(self) -> None:
        """Unmount, check and mount it again, as a reboot does. No process may use it."""
        await asyncio.to_thread(self._repair)

    def mount(self, size_bytes: int) -> None:
        """Make it and mount it.

        Raises:
            subprocess.CalledProcessError: this is not possible here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.image.open("wb") as file:
            file.truncate(size_bytes)
        _run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(self.image))
        self._mount()

    def unmount(self) -> None:
        """Unmount it, also while it is in use."""
        _run("umount", "--lazy", str(self.folder))

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.folder))

    def _fill(self) -> None:
        with (self.folder / _BALLAST).open("wb", buffering=0) as ballast:
            try:
                while ballast.write(_CHUNK):
                    pass
            except OSError:
                return

    def _fail(self) -> None:
        found = _run("findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", str(self.folder)).strip()
        Path(f"/sys/fs/ext4/{Path(found).name}/trigger_fs_error").write_text("1")

    def _repair(self) -> None:
        _run("umount", str(self.folder))
        # Another mount namespace (`ip netns exec` makes one) may still hold the file system that failed, and a mount of
        # the same file would be that one again.
        copy = self.image.with_name(f"{self.image.name}.copy")
        _run("cp", "--sparse=always", str(self.image), str(copy))
        copy.replace(self.image)
        # Its status says whether it has repaired anything.
        subprocess.run(("fsck.ext4", "-y", str(self.image)), capture_output=True, check=False)
        self._mount()


@contextmanager
def small_disks(sizes_bytes: dict[Path, int]) -> Iterator[dict[str, SmallDisk]]:
    """Mount a disk on every folder for the time of the block, and return them by the folders' names."""
    disks: dict[str, SmallDisk] = {}
    try:
        for folder, size_bytes in sizes_bytes.items():
            disk = SmallDisk(folder.with_name(f"{folder.name}.img"), folder)
            disk.mount(size_bytes)
            disks[folder.name] = disk
        yield disks
    finally:
        for disk in disks.values():
            disk.unmount()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
