"""Secrets in every form in which a log, a message or a file may hold them."""

import json
from pathlib import Path

import pytest

from services.cli.support.secret_scrubber import (
    REMOVED,
    SecretScrubber,
    secrets_in_environment,
    secrets_in_folders,
)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("connect mqtts://camera:hunter2@192.0.2.1:8883 failed", "hunter2"),
        ("mqtt://a:p%40ss@[::1]", "p%40ss"),
        ('{"password": "hunter2", "port": 8883}', "hunter2"),
        ("password=hunter2", "hunter2"),
        ("SEGUE_BROKER_PASSWORD='hunter2'", "hunter2"),
        ("MQTT_PASSWD: hunter2", "hunter2"),
        ("signing_key: 00ff11", "00ff11"),
        ("--password hunter2 --port 1", "hunter2"),
        ("mosquitto_pub -u camera -P hunter2 -t x", "hunter2"),
        ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
        ("token='abcdef'", "abcdef"),
        ('"{\\"password\\": \\"hunter2\\"}"', "hunter2"),
        ("camera:$7$101$c2FsdHNhbHQ=$aGFzaGhhc2g=", "aGFzaGhhc2g"),
        ("joined with segue1.AbCd_123-456789", "AbCd_123"),
        ("connected as segue-planner-0123456789abcdef", "0123456789abcdef"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\nIIrf\n-----END EC PRIVATE KEY-----\nafter", "MHcCAQEE"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQAw", "MC4CAQAw"),
    ],
)
def test_what_looks_like_a_secret_is_removed_without_being_known(text: str, secret: str) -> None:
    scrubbed = SecretScrubber(()).scrub(text)
    assert secret not in scrubbed
    assert REMOVED in scrubbed
    assert SecretScrubber(()).scrub(scrubbed) == scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "camera does not answer; rerouted to helper in 12.5 ms",
        "connected to mqtts://planner@127.0.0.1:8883",
        "planner planner signs with key 69094a1e872863d16877874518bb9b73760228edae7603da30cc12664c6da9ba",
        "https://example.org:8080/docs@v1",
        "epoch 4 of door: camera[0,8) helper[8,24)",
    ],
)
def test_what_a_reader_needs_stays(text: str) -> None:
    assert SecretScrubber(()).scrub(text) == text


def test_known_values_go_in_every_spelling_and_short_ones_do_not_tear_words_apart() -> None:
    scrubber = SecretScrubber(['a"b c', "ab", "ab", 'longer than a"b c'])
    assert scrubber.scrub('x a"b c y') == f"x {REMOVED} y"
    assert scrubber.scrub("x a%22b%20c y") == f"x {REMOVED} y"
    assert scrubber.scrub(json.dumps({"x": 'a"b c'})) == json.dumps({"x": REMOVED})
    assert scrubber.scrub('about longer than a"b c') == f"about {REMOVED}"


def test_documents_stay_documents() -> None:
    document = {
        "a": [1, None, True, "known value"],
        "password": "x",
        "tokens": 3,
        "empty_secret": "",
        "n": {"pwd": "y"},
    }
    assert SecretScrubber(["known value"]).scrub_document(document) == {
        "a": [1, None, True, REMOVED],
        "password": REMOVED,
        "tokens": 3,
        "empty_secret": "",
        "n": {"pwd": REMOVED},
    }


def test_an_environment_shows_its_secrets() -> None:
    environment = {"SEGUE_BROKER": "mqtts://u:p%40ss@host", "API_KEY": "key1", "HOME": "/root", "X": "u:plain@host"}
    assert list(secrets_in_environment(environment)) == ["p%40ss", "p@ss", "key1", "plain", "plain"]


def test_files_show_their_secrets_and_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "ca.key").write_text("-----BEGIN X-----\nline one\n-----END X-----\n")
    (tmp_path / "client_secret").write_text("0123")
    (tmp_path / "passwords").write_text("camera:$7$hash\n")
    (tmp_path / "a.json").write_text('{"host": "h", "password": "pw", "list": [{"token": ["t1"]}]}')
    (tmp_path / "segue.env").write_text("# options\nSEGUE_BROKER=mqtt://u:envpw@h\n")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    (tmp_path / "large.json").write_text(" " * 70_000)
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    found = set(secrets_in_folders([tmp_path, tmp_path / "none"]))
    assert found == {
        "-----BEGIN X-----\nline one\n-----END X-----\n",
        "line one",
        "0123",
        "$7$hash",
        "pw",
        "t1",
        "envpw",
    }
