"""What `segue submit` makes sure of before it sends anything."""

from pathlib import Path

import pytest

from services.cli.submit_command import sendable
from shared.service import InputError


def test_a_request_too_large_for_the_bus_is_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(bytes(101))
    with pytest.raises(InputError, match="has 101 bytes; a request has at most 100"):
        sendable(file, 100)
