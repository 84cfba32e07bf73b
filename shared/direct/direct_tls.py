"""TLS 1.3 between executors: a certificate per start of the process, which peers know from its presence.

Both sides show their certificate, and each accepts exactly the one in the other's presence. The broker's access rules
let only that device publish the presence. So no certificate authority is needed, and none is trusted.
"""

import asyncio
import contextlib
import datetime
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BootCertificate:
    """A certificate and its key, which never leave this process.

    Attributes:
        certificate: X.509 in DER.
    """

    certificate: bytes
    _pem: bytes = field(repr=False)

    @classmethod
    def make(cls) -> "BootCertificate | None":
        """Make a new certificate; None without the library `cryptography`."""
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            return None
        key = ec.generate_private_key(ec.SECP256R1())
        # OpenSSL looks certificates up by their subject, so it has to differ from every other.
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(16))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # Valid at any time: it is trusted as long as it is in the presence, and clocks of devices may be wrong.
            .not_valid_before(datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
            .not_valid_after(datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC))
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem = private + certificate.public_bytes(serialization.Encoding.PEM)
        return cls(certificate.public_bytes(serialization.Encoding.DER), pem)

    def accepting_context(self, peers: Iterable[bytes]) -> ssl.SSLContext:
        """Return the context of the accepting side, for peers with one of these certificates."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        # Nothing resumes a session, and tickets would be bytes that no reader waits for.
        context.num_tickets = 0
        for certificate in peers:
            # A peer that publishes bytes that are no certificate locks out itself only.
            with contextlib.suppress(ssl.SSLError):
                context.load_verify_locations(cadata=certificate)
        return context

    def connecting_context(self, peer: bytes) -> ssl.SSLContext:
        """Return the context of the connecting side, for the peer with this certificate.

        Raises:
            ssl.SSLError: the bytes are no certificate.
        """
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=peer)
        return context

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # Addresses change and are not in the certificate. The certificate itself is compared instead.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        # `ssl` reads keys from files only.
        with tempfile.NamedTemporaryFile() as file:
            file.write(self._pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context


async def shake_hands(sock: ssl.SSLSocket) -> None:
    """Finish the handshake of a non-blocking socket.

    Raises:
        OSError: it failed.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            return sock.do_handshake()
        except ssl.SSLWantReadError:
            add, remove = loop.add_reader, loop.remove_reader
        except ssl.SSLWantWriteError:
            add, remove = loop.add_writer, loop.remove_writer
        ready: asyncio.Future[None] = loop.create_future()
        add(sock, _settle, ready)
        try:
            await ready
        finally:
            remove(sock)


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
