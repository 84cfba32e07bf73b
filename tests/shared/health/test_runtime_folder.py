"""Folders of health sockets: where systemd, a login or nobody says so, and none that others control."""

import os
import tempfile
from pathlib import Path

import pytest

from shared.health import runtime_folder
from shared.health.runtime_folder import SYSTEM_FOLDER, is_trusted, make_runtime_folder, runtime_folders


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path / f"segue-{os.getuid()}"


def test_systemd_comes_first_then_the_login_then_the_temporary_folder(temporary_folder: Path) -> None:
    environment = {"RUNTIME_DIRECTORY": "/run/segue/a:/run/segue/b", "XDG_RUNTIME_DIR": "/run/user/5"}
    expected = (Path("/run/segue/a"), Path("/run/user/5/segue"), temporary_folder, SYSTEM_FOLDER)
    assert runtime_folders(environment) == expected
    assert runtime_folders({}) == (temporary_folder, SYSTEM_FOLDER)


def test_it_is_made_for_this_user_only(temporary_folder: Path) -> None:
    assert make_runtime_folder({}) == temporary_folder
    assert temporary_folder.stat().st_mode & 0o777 == 0o700
    assert make_runtime_folder({}) == temporary_folder


def test_a_login_folder_that_is_not_there_is_passed_over(temporary_folder: Path) -> None:
    assert make_runtime_folder({"XDG_RUNTIME_DIR": "/nowhere"}) == temporary_folder


@pytest.mark.skipif(os.getuid() != 0, reason="gives a folder to another user")
def test_a_folder_of_another_user_is_not_used(temporary_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary_folder.mkdir(mode=0o700)
    os.chown(temporary_folder, 12345, 12345)
    monkeypatch.setattr(runtime_folder, "SYSTEM_FOLDER", temporary_folder.parent / "nowhere" / "segue")
    # The last one that was tried says why.
    with pytest.raises(OSError, match="nowhere"):
        make_runtime_folder({})
    assert not is_trusted(temporary_folder)


def test_a_folder_into_which_others_write_and_a_link_are_not_trusted(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert not is_trusted(tmp_path)
    tmp_path.chmod(0o700)
    assert is_trusted(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert not is_trusted(link)
    assert not is_trusted(tmp_path / "absent")
