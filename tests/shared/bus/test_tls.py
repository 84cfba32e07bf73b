"""Contexts for TLS towards the broker."""

import ssl

import pytest

from shared.bus.settings import BusSettings
from shared.bus.tls import client_context
from tests.shared.bus.conftest import Certificates


def test_brokers_are_verified_unless_asked_otherwise(certificates: Certificates) -> None:
    careful = client_context(BusSettings(tls=True, tls_ca=certificates.ca))
    blind = client_context(BusSettings(tls=True, tls_insecure=True))
    assert (careful.verify_mode, careful.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (blind.verify_mode, blind.check_hostname) == (ssl.CERT_NONE, False)


def test_a_file_that_holds_no_certificate_is_refused(certificates: Certificates) -> None:
    with pytest.raises(OSError, match=r"(?i)pem|key|certificate"):
        client_context(BusSettings(tls=True, tls_cert=certificates.ca, tls_key=certificates.ca))
