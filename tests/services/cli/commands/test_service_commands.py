"""Checks before a service starts."""

from pathlib import Path

import pytest

from services.cli.commands.service_commands import _check_provider, _check_watches
from services.executor.config import Watch
from shared.exit_status import InputError


def test_a_provider_that_is_not_here_is_refused_with_those_that_are() -> None:
    _check_provider("CPUExecutionProvider")
    with pytest.raises(InputError, match=r"no provider NoSuch here; there are: .*CPUExecutionProvider"):
        _check_provider("NoSuch")


def test_a_folder_to_watch_has_to_be_there(tmp_path: Path) -> None:
    _check_watches([Watch("door", tmp_path)])
    with pytest.raises(InputError, match=r"--watch door=.*there is no such folder"):
        _check_watches([Watch("door", tmp_path), Watch("door", tmp_path / "missing")])
