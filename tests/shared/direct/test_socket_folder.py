"""The folder of Unix sockets: who may use it, and what is left in it."""

import os
import socket
from pathlib import Path

import pytest

from shared.direct.socket_folder import check_folder, listen_in, peer_is_same_user, reachable, socket_name


def test_names_are_short_and_differ_by_device_and_start() -> None:
    names = {socket_name(device, boot_id) for device in ("a", "a" * 64) for boot_id in ("b", "c")}
    assert len(names) == 4
    assert {len(name) for name in names} == {37}


def test_the_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with listen_in(folder, "x.sock"):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "x.sock").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_may_write_in_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="writable for others"):
        listen_in(tmp_path, "x.sock")
    with pytest.raises(NotADirectoryError):
        check_folder(Path("/proc/self/status"))


def test_sockets_of_the_dead_are_removed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    dead, young, alive = (listen_in(tmp_path, f"{name}.sock") for name in ("dead", "young", "alive"))
    dead.close()
    young.close()
    for name in ("dead", "alive"):
        os.utime(tmp_path / f"{name}.sock", (0, 0))
    (tmp_path / "other.txt").touch()
    with listen_in(tmp_path, "new.sock"):
        assert {path.name for path in tmp_path.iterdir()} == {"young.sock", "alive.sock", "new.sock", "other.txt"}
    alive.close()


def test_a_deep_folder_is_reached(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    with listen_in(folder, "x.sock") as listener, socket.socket(socket.AF_UNIX) as client:
        with reachable(folder / "x.sock") as address:
            client.connect(address)
        accepted, _ = listener.accept()
        with accepted:
            assert peer_is_same_user(accepted)
            assert peer_is_same_user(client)
