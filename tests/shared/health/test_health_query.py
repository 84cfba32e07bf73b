"""Questions to sockets: of killed processes, of those that hang, and of those that talk nonsense."""

import socket
import threading
from pathlib import Path

import pytest

from shared.health.health_query import ask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


def listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_nobody_is_there(folder: Path) -> None:
    assert ask(None, [folder, folder / "absent"]) == []


def test_the_socket_of_a_killed_process_is_removed(folder: Path) -> None:
    listen(folder / "executor-7.sock").close()
    assert ask("executor", [folder]) == []
    assert list(folder.iterdir()) == []


def test_a_process_that_hangs_is_not_alive(folder: Path) -> None:
    with listen(folder / "executor-7.sock"):
        [report] = ask(None, [folder], timeout_s=0.05)
    assert (report.role, report.is_ready, report.is_alive) == ("executor", False, False)
    assert report.reason == "process 7 does not answer within 0.05 s"


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"[]\n", b'{"other": 1}\n', b"x" * 9000])
def test_an_answer_that_is_none(folder: Path, answer: bytes) -> None:
    with listen(folder / "planner-7.sock") as listener:

        def reply() -> None:
            with listener.accept()[0] as accepted:
                accepted.sendall(answer)

        replying = threading.Thread(target=reply)
        replying.start()
        [report] = ask("planner", [folder])
        replying.join()
    assert (report.role, report.is_ready, report.is_alive) == ("planner", False, False)


def test_a_folder_of_others_is_not_asked(folder: Path) -> None:
    with listen(folder / "executor-7.sock"):
        folder.chmod(0o777)
        assert ask(None, [folder]) == []
