"""Enrolment strings and the files of accounts: round trips, damage, secrecy."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trustme

from shared.bus.errors import SettingsError
from shared.bus.roles import Role
from shared.enrolment import PREFIX, Enrolment, is_account_file, settings_from

CA_PEM = trustme.CA().cert_pem.bytes().decode()
CAMERA = Enrolment(
    account="camera",
    role=Role.DEVICE,
    password="hunter2hunter2",
    host="192.0.2.10",
    ca_pem=CA_PEM,
    planner_keys=("ab" * 32,),
)
PLANNER = CAMERA.model_copy(update={"account": "planner", "role": Role.PLANNER, "signing_key": "cd" * 32})


@pytest.mark.parametrize("enrolment", [CAMERA, PLANNER, CAMERA.model_copy(update={"port": 1, "root": "site/a"})])
def test_a_string_and_a_file_give_back_what_was_written(enrolment: Enrolment, tmp_path: Path) -> None:
    assert Enrolment.from_text(enrolment.to_text()) == enrolment
    path = enrolment.write(tmp_path / "made")
    assert path == tmp_path / "made" / f"{enrolment.account}.json"
    assert Enrolment.read(path) == enrolment


def test_line_breaks_of_a_terminal_do_not_count() -> None:
    text = CAMERA.to_text()
    broken = "\n ".join(text[start : start + 40] for start in range(0, len(text), 40))
    assert Enrolment.from_text(f" {broken}\r\n") == CAMERA


def test_every_damaged_string_is_refused_in_one_line() -> None:
    text = CAMERA.to_text()
    damaged = [text[:-1], text[:50], PREFIX, text + "A", text + "!", text.replace(text[60], "_", 1), text.swapcase()]
    for each in [*damaged, "", "mqtt://x", "segue2.abc", PREFIX + "A" * 100_000, PREFIX + "ü"]:
        with pytest.raises(SettingsError) as caught:
            Enrolment.from_text(each)
        assert "hunter2" not in str(caught.value)
        assert "\n" not in str(caught.value)


def with_checksum(value: Any) -> str:
    """Return a string with a right checksum around any value."""
    body = msgpack.packb(value)
    return PREFIX + base64.urlsafe_b64encode(hashlib.sha256(body).digest()[:4] + body).decode()


@pytest.mark.parametrize("value", [1, [], {}, {"ca": 1}, {"ca": b"", "account": "a"}, None, {b"ca": b""}])
def test_a_well_formed_string_of_something_else_is_refused(value: Any) -> None:
    with pytest.raises(SettingsError):
        Enrolment.from_text(with_checksum(value))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account", "../../etc/passwd"),
        ("account", "a/b"),
        ("role", "root"),
        ("port", 0),
        ("host", ""),
        ("planner_keys", ["x"]),
        ("signing_key", "zz"),
        ("password", ""),
    ],
)
def test_wrong_fields_are_named_and_the_password_is_not(field: str, value: Any, tmp_path: Path) -> None:
    path = CAMERA.write(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(SettingsError, match=field) as caught:
        Enrolment.read(path)
    assert "hunter2" not in str(caught.value)


def test_unknown_fields_of_a_later_version_do_not_matter(tmp_path: Path) -> None:
    path = CAMERA.write(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))
    assert Enrolment.read(path) == CAMERA


def test_a_missing_or_foreign_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the account .*none\.json: No such file"):
        Enrolment.read(tmp_path / "none.json")
    for text in ("[]", "x", "1"):
        (tmp_path / "a.json").write_text(text)
        (tmp_path / "a.ca.pem").write_text(CA_PEM)
        with pytest.raises(SettingsError, match="is no account of a fleet"):
            Enrolment.read(tmp_path / "a.json")


def test_settings_lead_to_the_broker_and_show_no_password(tmp_path: Path) -> None:
    path = CAMERA.write(tmp_path)
    settings = CAMERA.settings(path)
    assert (settings.address, settings.password) == ("mqtts://camera@192.0.2.10:8883", "hunter2hunter2")
    assert settings.tls_ca is not None
    assert Path(settings.tls_ca).read_text() == CA_PEM
    assert "hunter2" not in repr(CAMERA) + repr(settings)
    assert "cd" * 32 not in repr(PLANNER)


def test_a_program_may_give_an_address_or_a_file(tmp_path: Path) -> None:
    path = CAMERA.write(tmp_path)
    assert settings_from(str(path)) == CAMERA.settings(path)
    assert settings_from("mqtt://pi:1884").port == 1884
    with pytest.raises(SettingsError, match="cannot read"):
        settings_from(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("text", "is_file"), [("a.json", True), ("/x/a.json", True), ("mqtt://h/a.json", False), ("pi:1883", False)]
)
def test_what_names_a_file(text: str, is_file: bool) -> None:
    assert is_account_file(text) is is_file
