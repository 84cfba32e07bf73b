"""Real brokers for the bus tests: the embedded one and mosquitto, open and with password and TLS."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
import trustme
from _pytest.mark.structures import ParameterSet

from broker.embedded import EmbeddedBroker, EmbeddedBrokerConfig
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.process import BrokerProcess, free_port

USERNAME, PASSWORD = "segue", 'pa"ss wörd\\'


class BrokerKind(Enum):
    EMBEDDED = "embedded"
    EMBEDDED_SECURE = "embedded-secure"
    MOSQUITTO = "mosquitto"
    MOSQUITTO_SECURE = "mosquitto-secure"

    @property
    def is_mosquitto(self) -> bool:
        return self in (BrokerKind.MOSQUITTO, BrokerKind.MOSQUITTO_SECURE)

    @property
    def is_secure(self) -> bool:
        return self in (BrokerKind.EMBEDDED_SECURE, BrokerKind.MOSQUITTO_SECURE)


@dataclass(frozen=True)
class Certificates:
    ca: str
    cert: str
    key: str


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory: Path = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    server.private_key_pem.write_to_path(directory / "server.key")
    for blob in server.cert_chain_pems:
        blob.write_to_path(directory / "server.pem", append=True)
    return Certificates(str(directory / "ca.pem"), str(directory / "server.pem"), str(directory / "server.key"))


def make_broker(kind: BrokerKind, certificates: Certificates) -> BrokerProcess:
    username, password = (USERNAME, PASSWORD) if kind.is_secure else (None, None)
    cert, key, ca = (certificates.cert, certificates.key, certificates.ca) if kind.is_secure else (None, None, None)
    if kind.is_mosquitto:
        return MosquittoBroker(username=username, password=password, tls_cert=cert, tls_key=key, trusted_ca=ca)
    config = EmbeddedBrokerConfig(port=free_port(), username=username, password=password, tls_cert=cert, tls_key=key)
    return EmbeddedBroker(config, trusted_ca=ca)


def broker_parameters(*kinds: BrokerKind) -> list[ParameterSet]:
    missing = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
    marks = {kind: [pytest.mark.mosquitto, missing] if kind.is_mosquitto else [] for kind in kinds}
    return [pytest.param(kind, id=kind.value, marks=marks[kind]) for kind in kinds]


@pytest.fixture(params=broker_parameters(*BrokerKind))
async def broker(request: pytest.FixtureRequest, certificates: Certificates) -> AsyncIterator[BrokerProcess]:
    async with make_broker(request.param, certificates) as running:
        yield running


@pytest.fixture
async def embedded(certificates: Certificates) -> AsyncIterator[BrokerProcess]:
    async with make_broker(BrokerKind.EMBEDDED, certificates) as running:
        yield running
