"""Certificates of a fleet, judged by the TLS of Python and OpenSSL."""

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from broker.authority import Authority, CertifiedKey

NOW = datetime.datetime.now(datetime.UTC)
AUTHORITY = Authority.generate(NOW)


def handshake(served: CertifiedKey, trusted_pem: bytes, host: str, folder: Path) -> None:
    """Connect a client to a server over a pair of sockets.

    Raises:
        ssl.SSLError: the client does not believe the server.
    """
    (folder / "cert.pem").write_bytes(served.certificate_pem)
    (folder / "key.pem").write_bytes(served.key_pem)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    client_context = ssl.create_default_context(cadata=trusted_pem.decode())
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    one, other = socket.socketpair()

    def serve() -> None:
        try:
            server_context.wrap_socket(one, server_side=True).close()
        except (ssl.SSLError, OSError):
            one.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client_context.wrap_socket(other, server_hostname=host).close()
    finally:
        other.close()
        thread.join()


@pytest.mark.parametrize("host", ["192.0.2.10", "2001:db8::1", "broker.example", "localhost"])
def test_the_broker_is_believed_under_its_hosts(tmp_path: Path, host: str) -> None:
    certified = AUTHORITY.certify_broker(["192.0.2.10", "2001:db8::1", "broker.example", "localhost", "localhost"], NOW)
    handshake(certified, AUTHORITY.pair.certificate_pem, host, tmp_path)


def test_the_broker_is_not_believed_under_another_host(tmp_path: Path) -> None:
    certified = AUTHORITY.certify_broker(["192.0.2.10"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"192\.0\.2\.11"):
        handshake(certified, AUTHORITY.pair.certificate_pem, "192.0.2.11", tmp_path)


def test_another_fleet_s_broker_is_not_believed(tmp_path: Path) -> None:
    certified = Authority.generate(NOW).certify_broker(["localhost"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certified, AUTHORITY.pair.certificate_pem, "localhost", tmp_path)


def test_a_clock_that_is_a_day_slow_is_fine_and_an_expired_certificate_is_not(tmp_path: Path) -> None:
    pem = AUTHORITY.pair.certificate_pem
    ahead = AUTHORITY.certify_broker(["localhost"], NOW + datetime.timedelta(days=1))
    handshake(ahead, pem, "localhost", tmp_path)
    old = AUTHORITY.certify_broker(["localhost"], NOW - datetime.timedelta(days=1000))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(old, pem, "localhost", tmp_path)


def test_the_broker_s_certificate_signs_none() -> None:
    certificate = x509.load_pem_x509_certificate(AUTHORITY.certify_broker(["localhost"], NOW).certificate_pem)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_an_authority_is_read_as_it_was_written(tmp_path: Path) -> None:
    again = Authority.load(AUTHORITY.pair)
    handshake(again.certify_broker(["localhost"], NOW), AUTHORITY.pair.certificate_pem, "localhost", tmp_path)
    with pytest.raises(ValueError, match="PEM"):
        Authority.load(CertifiedKey(b"x", b"y"))
    assert b"PRIVATE" not in repr(AUTHORITY.pair).encode()
