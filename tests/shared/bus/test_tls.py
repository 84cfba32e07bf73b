"""Contexts for TLS towards the broker."""

import asyncio
import os
import ssl
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from shared.bus.settings import BusSettings
from shared.bus.tls import client_context
from tests.shared.bus.conftest import PASSWORD, USERNAME, BrokerKind, Certificates, make_broker
from tests.support.stepped_clock import SteppedClock, build_library, can_step_clocks

CLIENT = """
import asyncio, logging, sys
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings

async def main():
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s", force=True)
    async with Connection.open(BusSettings.from_address(sys.argv[1]), connect_timeout_s=None):
        print("connected", flush=True)

asyncio.run(main())
"""


def test_brokers_are_verified_unless_asked_otherwise(certificates: Certificates) -> None:
    careful = client_context(BusSettings(tls=True, tls_ca=certificates.ca))
    blind = client_context(BusSettings(tls=True, tls_insecure=True))
    assert (careful.verify_mode, careful.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (blind.verify_mode, blind.check_hostname) == (ssl.CERT_NONE, False)


def test_a_file_that_holds_no_certificate_is_refused(certificates: Certificates) -> None:
    with pytest.raises(OSError, match=r"(?i)pem|key|certificate"):
        client_context(BusSettings(tls=True, tls_cert=certificates.ca, tls_key=certificates.ca))


@pytest.mark.skipif(not can_step_clocks(), reason="the library that steps clocks needs a C compiler")
async def test_a_client_that_starts_in_1970_says_so_and_connects_once_its_clock_is_set(
    certificates: Certificates, tmp_path: Path
) -> None:
    clock = SteppedClock(build_library(tmp_path), tmp_path / "clock")
    clock.step_to_1970()
    async with asyncio.timeout(60), make_broker(BrokerKind.EMBEDDED_SECURE, certificates) as broker:
        settings = broker.settings
        address = f"mqtts://{quote(USERNAME)}:{quote(PASSWORD)}@127.0.0.1:{settings.port}?ca={certificates.ca}"
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CLIENT, address),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **clock.environment},
        )
        assert client.stdout is not None
        told = (await client.stdout.readline()).decode()
        assert "certificate is not yet valid" in told
        assert "this machine's clock says 1970-01-01" in told
        assert "set the clock" in told
        clock.step(0.0)
        while b"connected" not in (told_next := await client.stdout.readline()):
            assert told_next
        await client.communicate()
