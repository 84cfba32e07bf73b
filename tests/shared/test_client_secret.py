"""The secret part of client ids: the same across restarts and services of one folder, and what happens without one."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.bus.settings import BusSettings
from shared.client_secret import with_client_secret

SETTINGS = BusSettings(host="127.0.0.1")


def test_the_secret_stays_and_differs_by_folder(tmp_path: Path) -> None:
    first = with_client_secret(SETTINGS, tmp_path / "a" / "b").client_secret
    assert len(first) == 16
    assert with_client_secret(SETTINGS, tmp_path / "a" / "b").client_secret == first
    assert with_client_secret(SETTINGS, tmp_path / "c").client_secret != first
    assert stat.S_IMODE((tmp_path / "c" / "client_secret").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["client_secret"]


def test_services_that_start_together_have_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: with_client_secret(SETTINGS, tmp_path), range(8)))
    assert len({settings.client_secret for settings in made}) == 1


def test_it_is_not_shown() -> None:
    assert "5ec2e7" not in repr(BusSettings(client_secret="5ec2e7"))


@pytest.mark.parametrize("content", [None, "", "short", "g" * 16, "\u00fc" * 16])
def test_a_folder_that_cannot_be_used_gives_a_secret_for_this_process(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"
    if content is None:
        folder.write_text("a file in the way")
    else:
        folder.mkdir()
        (folder / "client_secret").write_text(content)
    assert len(with_client_secret(SETTINGS, folder).client_secret) == 16
    assert "client ids change" in caplog.text
