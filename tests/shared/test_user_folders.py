"""Folders of the user on Linux and on macOS."""

from pathlib import Path

import pytest

from shared.user_folders import state_folder, user_cache_folder, user_data_folder


def test_the_xdg_folders_have_precedence_on_linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert user_data_folder() == tmp_path / ".local" / "share" / "segue"
    assert user_cache_folder() == tmp_path / ".cache" / "segue"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert user_data_folder() == tmp_path / "data" / "segue"
    assert user_cache_folder() == tmp_path / "cache" / "segue"


def test_macos_has_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert user_data_folder() == tmp_path / "Library" / "Application Support" / "segue"
    assert user_cache_folder() == tmp_path / "Library" / "Caches" / "segue"


def test_the_state_folder_is_that_of_the_device(tmp_path: Path) -> None:
    assert state_folder(tmp_path, "pi") == tmp_path / "devices" / "pi"
