import asyncio
from pathlib import Path

from services.executor.source.directory_watch import DirectoryState, Sighting, list_files, request_id, watch_directory
from services.executor.source.journal_thread import JournalThread

A, B = Sighting("a.jpg", "1"), Sighting("b.jpg", "1")


def test_a_file_is_taken_when_it_has_stopped_changing() -> None:
    state = DirectoryState({})
    assert state.scan({A}) == ([], [])
    assert state.scan({Sighting("a.jpg", "2")}) == ([], [])
    assert state.scan({Sighting("a.jpg", "2")}) == ([Sighting("a.jpg", "2")], [])


def test_a_file_is_taken_once_and_again_when_it_was_rewritten() -> None:
    state = DirectoryState({})
    state.scan({A})
    state.take(A)
    assert state.scan({A}) == ([], [])
    state.scan({Sighting("a.jpg", "2")})
    assert state.scan({Sighting("a.jpg", "2")})[0] == [Sighting("a.jpg", "2")]


def test_what_was_taken_before_a_restart_stays_taken_until_it_is_gone() -> None:
    state = DirectoryState({"a.jpg": "1", "z.jpg": "1"})
    assert state.scan({A, B}) == ([], ["z.jpg"])
    assert state.scan({A, B}) == ([B], [])


def test_ids_are_readable_stable_and_tell_files_apart() -> None:
    assert request_id(A).startswith("a-")
    assert request_id(A) == request_id(Sighting("a.jpg", "1"))
    assert len({request_id(A), request_id(Sighting("a.jpg", "2")), request_id(Sighting("a.png", "1"))}) == 3
    assert request_id(Sighting("Überraschung ☃.jpg", "1")).startswith("berraschung__-")
    assert request_id(Sighting("☃.jpg", "1")).startswith("file-")


def test_only_images_and_tensors_are_listed(tmp_path: Path) -> None:
    for name in ("a.jpg", "B.PNG", "t.npy", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    assert {file.name for file in list_files(tmp_path)} == {"a.jpg", "B.PNG", "t.npy"}
    assert list_files(tmp_path / "missing") == set()


async def test_a_watched_directory_is_submitted_once_across_restarts(tmp_path: Path) -> None:
    directory = tmp_path / "images"
    directory.mkdir()
    (directory / "one.jpg").write_bytes(b"1")
    (directory / "two.jpg").write_bytes(b"2")
    submitted: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def submit(name: str, payload: bytes) -> None:
        await submitted.put((name, payload))

    async with asyncio.timeout(20), JournalThread.open(tmp_path / "journal.sqlite") as journal:
        task = asyncio.ensure_future(watch_directory(directory, "s", journal, submit))
        assert [(await submitted.get())[1] for _ in range(2)] == [b"1", b"2"]
        (directory / "three.jpg").write_bytes(b"3")
        assert (await submitted.get())[1] == b"3"
        (directory / "four.jpg").write_bytes(b"4")
        assert (await submitted.get())[1] == b"4"
        task.cancel()
        (directory / "five.jpg").write_bytes(b"5")
        again = asyncio.ensure_future(watch_directory(directory, "s", journal, submit))
        names = {(await submitted.get())[1]}
        if names == {b"4"}:  # Cancelled between its submission and the note: submitted again, under the same id.
            names = {(await submitted.get())[1]}
        assert names == {b"5"}
        again.cancel()
