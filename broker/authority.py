"""A fleet's certificate authority, and the certificate of its broker."""

import datetime
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_DAYS: Final = 20 * 365
# `segue fleet rotate` makes a new one at any time. Clients have the authority's, and notice nothing.
_BROKER_DAYS: Final = 825
# Clocks of small devices may be slow.
_BACKDATED: Final = datetime.timedelta(days=2)
_ID_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A certificate and its private key, both in PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that signs certificates of brokers only."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls, now: datetime.datetime) -> Self:
        """Return a new authority. Its name has a random part: OpenSSL looks authorities up by their names."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named(f"Segue fleet {os.urandom(_ID_BYTES).hex()}")
        usage = _key_usage(signs_certificates=True)
        builder = (
            _certificate(name, name, key.public_key(), now, _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, pair: CertifiedKey) -> Self:
        """Return an authority from its certificate and key.

        Raises:
            ValueError: one of them cannot be read.
        """
        key = serialization.load_pem_private_key(pair.key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key of the authority is of another kind")
        return cls(x509.load_pem_x509_certificate(pair.certificate_pem), key)

    @property
    def pair(self) -> CertifiedKey:
        """Its certificate and key."""
        return _pair(self.certificate, self._key)

    def certify_broker(self, hosts: Iterable[str], now: datetime.datetime) -> CertifiedKey:
        """Return a new certificate with its key for a broker that clients reach under `hosts`, names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = tuple(dict.fromkeys(hosts))
        # The common name has 64 characters at most. Clients compare the alternative names only (RFC 6125, 6.4.4).
        builder = (
            _certificate(_named("Segue broker"), self.certificate.subject, key.public_key(), now, _BROKER_DAYS)
            .add_extension(x509.SubjectAlternativeName(list(map(_alternative_name, names))), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return _pair(builder.sign(self._key, hashes.SHA256()), key)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> CertifiedKey:
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return CertifiedKey(certificate.public_bytes(pem), private)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
