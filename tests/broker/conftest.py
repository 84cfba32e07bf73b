"""Certificates for the broker tests."""

from pathlib import Path

import pytest
import trustme


@pytest.fixture(scope="session")
def tls_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.pem, server.pem and server.key."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.private_key_pem.write_to_path(directory / "server.key")
    for blob in server.cert_chain_pems:
        blob.write_to_path(directory / "server.pem", append=True)
    return directory
