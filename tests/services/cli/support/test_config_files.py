"""Readers of users' files and their errors."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.cli.support.config_files import read_json, read_text, read_toml
from shared.exit_status import InputError


def test_what_is_well_formed_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, "b"]}')
    (tmp_path / "a.toml").write_text('a = [1, "b"]')
    assert read_json(tmp_path / "a.json") == read_toml(tmp_path / "a.toml") == {"a": [1, "b"]}


@pytest.mark.parametrize("read", [read_text, read_json, read_toml])
def test_what_cannot_be_read_is_told_with_its_name(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match=r"^cannot read .*missing: No such file or directory$"):
        read(tmp_path / "missing")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="bytes is no text: "):
        read(tmp_path / "bytes")


@pytest.mark.parametrize(
    ("read", "text", "complaint"),
    [
        (read_json, "{", "is not JSON: Expecting"),
        (read_json, "[" * 100_000, "is not JSON: it is nested too deeply"),
        (read_json, "9" * 5000, "is not JSON: Exceeds the limit"),
        (read_toml, "a", "is not TOML: Expected"),
        (read_toml, "a = " + "[" * 50_000, "is not TOML: it is nested too deeply"),
    ],
)
def test_what_is_malformed_is_told_with_its_name(
    tmp_path: Path, read: Callable[[Path], object], text: str, complaint: str
) -> None:
    (tmp_path / "document").write_text(text)
    with pytest.raises(InputError, match=f"document {complaint}"):
        read(tmp_path / "document")
