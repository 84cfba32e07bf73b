"""Who may publish and receive what, asked from a real Mosquitto: every role on every topic."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest

from broker.access_files import access_rules, hashed_password
from broker.mosquitto import MosquittoBroker, find_mosquitto
from shared.bus import topics
from shared.bus.account_rights import Account
from shared.bus.connection import Connection
from shared.bus.errors import PublishForbidden
from shared.bus.roles import Role
from shared.bus.topic import Topic

WAIT_S = 30.0
ROOT = "segue/v1"
# By topic: who publishes | who receives. D device, P planner, C collector, O operator, A application, V viewer. A small
# letter stands for the account's own names only.
SPELLED = {
    "devices/{device}/presence": "dPO|DPCOV",
    "services/{name}/presence": "dpcO|DPCOV",
    "devices/{device}/telemetry": "d|PCOV",
    "devices/{device}/links": "dO|dPCOV",
    "devices/{device}/profiles/{model}": "dO|dPOV",
    "devices/{device}/observations": "d|d",
    "devices/{device}/receipts": "D|d",
    "devices/{device}/clock": "D|d",
    "devices/{device}/probes": "D|d",
    "devices/{device}/direct_probes": "d|d",
    "devices/{device}/emulation": "O|dO",
    "devices/{device}/commands": "P|d",
    "devices/{device}/reports": "d|P",
    "devices/{device}/inbox": "D|d",
    "devices/{device}/outcomes": "D|d",
    "devices/{device}/outcome_chunks": "D|d",
    "models/{model}": "PO|DPOV",
    "models/{model}/versions/{version}": "PO|DPOV",
    "models/{model}/calibration": "PO|POV",
    "models/{model}/shadow": "D|P",
    "models/{model}/offer": "O|P",
    "models/{model}/pulls/{provider}": "DP|pO",
    "models/{model}/chunks/{receiver}": "PO|dp",
    "streams/{stream}": "PO|DPOaV",
    "streams/{stream}/policy": "PO|POV",
    "streams/{stream}/plan": "P|DPCOV",
    "streams/{stream}/status": "P|OaV",
    "streams/{stream}/usage": "d|POV",
    "streams/{stream}/alternatives": "P|DOV",
    "streams/{stream}/questions": "O|P",
    "streams/{stream}/explanations/{asker}": "P|O",
    "streams/{stream}/requests": "Oa|dC",
    "streams/{stream}/results": "d|dCOa",
    "streams/{stream}/outputs": "d|Oa",
    "replies/{application}": "D|a",
    "collector/confirmations": "C|D",
    "events": "DPC|COV",
}
ACCOUNTS = (
    Account("planner", Role.PLANNER),
    Account("collector", Role.COLLECTOR),
    Account("operator", Role.OPERATOR),
    Account("viewer", Role.VIEWER),
    Account("camera", Role.DEVICE, ("door",)),
    Account("helper", Role.DEVICE, ("yard", "gate")),
    Account("door-bell", Role.APPLICATION, ("door",)),
    Account("gardener", Role.APPLICATION, ("yard",)),
)
# Names of the variable levels in the topics that are tried.
TRIED = {
    "device": ("camera", "helper", "planner", "door-bell"),
    "name": ("planner", "collector", "monitor-camera", "monitor-helper", "camera", "viewer"),
    "stream": ("door", "yard", "gate", "elsewhere"),
    "application": ("door-bell", "gardener", "camera"),
    "provider": ("planner", "cli-1"),
    "receiver": ("planner", "camera", "helper"),
    "asker": ("explain-1",),
    "model": ("ab" * 32,),
    "version": ("1",),
}
OWN: dict[str, dict[str, tuple[str, ...]]] = {
    "camera": {"device": ("camera",), "name": ("monitor-camera",), "receiver": ("camera",), "stream": ("door",)},
    "helper": {
        "device": ("helper",),
        "name": ("monitor-helper",),
        "receiver": ("helper",),
        "stream": ("yard", "gate"),
    },
    "planner": {"name": ("planner",), "provider": ("planner",), "receiver": ("planner",)},
    "collector": {"name": ("collector",)},
    "door-bell": {"application": ("door-bell",), "stream": ("door",)},
    "gardener": {"application": ("gardener",), "stream": ("yard",)},
}


@dataclass(frozen=True)
class Tried:
    """A topic with names in its levels."""

    topic: Topic[...]
    names: dict[str, str]
    deeper: str = ""

    @property
    def text(self) -> str:
        return self.topic.template.format(**self.names) + self.deeper

    def is_allowed(self, account: Account, *, receives: bool) -> bool:
        letters = SPELLED[self.topic.template].split("|")[receives]
        letter = account.role.value[0]
        own = OWN.get(account.name, {})
        is_own = any(name in own.get(parameter, ()) for parameter, name in self.names.items())
        return letter.upper() in letters or (letter in letters and is_own)


def tried() -> list[Tried]:
    """Return every topic with every combination of names."""
    found = [
        Tried(topic, dict(zip(topic.parameters, names, strict=True)))
        for topic in topics.ALL_TOPICS
        for names in product(*(TRIED[parameter] for parameter in topic.parameters))
    ]
    replies = next(topic for topic in topics.ALL_TOPICS if topic.name == "replies")
    return [*found, *(Tried(replies, {"application": name}, "/a/b") for name in TRIED["application"])]


EVERYTHING = tried()


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[dict[str, Connection]]:
    """One broker; a connection per account, and one of an account `all` that may do everything."""
    rules = access_rules(ACCOUNTS, ROOT) + "\nuser all\ntopic readwrite #\n"
    # The end of what each may receive, and a topic that nobody should have.
    rules += "".join(f"\nuser {account.name}\ntopic read {ROOT}/end\n" for account in ACCOUNTS)
    (tmp_path / "rules").write_text(rules, encoding="utf-8")
    passwords = {account.name: f"of {account.name}" for account in ACCOUNTS}
    broker = MosquittoBroker(username="all", password="secret", other_accounts=passwords, acl_file=tmp_path / "rules")
    async with broker, AsyncExitStack() as stack, asyncio.timeout(WAIT_S):
        settings = {name: replace(broker.settings, username=name, password=word) for name, word in passwords.items()}
        settings["all"] = broker.settings
        yield {name: await stack.enter_async_context(Connection.open(each)) for name, each in settings.items()}


def test_the_declarations_are_those_that_were_decided() -> None:
    assert {topic.template for topic in topics.ALL_TOPICS} == set(SPELLED)


@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
async def test_every_role_publishes_what_it_must_and_nothing_else(clients: dict[str, Connection]) -> None:
    async def may(connection: Connection, topic: str) -> bool:
        try:
            await connection.publish(topic, b"x", timeout_s=WAIT_S)
        except PublishForbidden:
            return False
        return True

    others = ("", "devices", "devices/camera", "devices/camera/unknown", "models/m/unknown", "streams/door/results/x")
    for account in ACCOUNTS:
        connection = clients[account.name]
        texts = [*(each.text for each in EVERYTHING), *filter(None, others), "replies", "$SYS/x"]
        allowed = await asyncio.gather(*(may(connection, text) for text in texts))
        expected = {each.text for each in EVERYTHING if each.is_allowed(account, receives=False)}
        assert {text for text, is_allowed in zip(texts, allowed, strict=True) if is_allowed} == expected, account


@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
async def test_every_role_receives_what_it_must_and_nothing_else(clients: dict[str, Connection]) -> None:
    for account in ACCOUNTS:
        await clients[account.name].subscribe("#")
    for text in [*(each.text for each in EVERYTHING), "devices/camera/unknown", "streams/door/requests/x", "end"]:
        await clients["all"].publish(text, b"x")
    for account in ACCOUNTS:
        heard = set()
        async for received in clients[account.name]:
            if received.topic == "end":
                break
            heard.add(received.topic)
        expected = {each.text for each in EVERYTHING if each.is_allowed(account, receives=True)}
        assert heard == expected, account


def test_no_account_has_rights_under_another_root() -> None:
    lines = access_rules(ACCOUNTS, "site/a").splitlines()
    topics = [line.split()[-1] for line in lines if line.startswith("topic")]
    assert topics
    assert all(topic.startswith("site/a/") for topic in topics)
    # A rule before the first `user` would hold for everybody, and one with `pattern` as well.
    assert next(line for line in lines if line and not line.startswith("#")).startswith("user ")
    assert not any(line.startswith("pattern") for line in lines)


def test_a_hashed_password_is_salted_and_is_that_of_rfc_8018() -> None:
    first, second = hashed_password("hunter2"), hashed_password("hunter2")
    assert first != second
    assert "hunter2" not in first
    _, kind, iterations, salt, digest = first.split("$")
    computed = hashlib.pbkdf2_hmac("sha512", b"hunter2", base64.b64decode(salt), int(iterations))
    assert (kind, base64.b64decode(digest)) == ("7", computed)
