"""TLS contexts for connections to the broker."""

import ssl
from typing import Any

from shared.bus.settings import BusSettings


class ClientContext(ssl.SSLContext):
    """A context that can close the socket of a failed handshake.

    paho keeps no reference to that socket and leaves it open until the garbage collector finds it.
    """

    _latest: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Wrap a socket and keep a reference to it."""
        self._latest = super().wrap_socket(*args, **kwargs)
        return self._latest

    def close_latest(self) -> None:
        """Close the socket that was wrapped last."""
        if self._latest is not None:
            self._latest.close()
            self._latest = None


def client_context(settings: BusSettings) -> ClientContext:
    """Return the context that the settings describe. Reads files, so call it off the event loop.

    Raises:
        OSError: a file cannot be read, or holds no certificate or key.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.tls_insecure:
        # In this order: `ssl` refuses to verify no certificate while it checks host names.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.tls_ca is not None:
        context.load_verify_locations(settings.tls_ca)
    else:
        context.load_default_certs()
    if settings.tls_cert is not None:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context
