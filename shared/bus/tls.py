"""TLS contexts for connections to the broker."""

import ssl

from shared.bus.settings import BusSettings


def client_context(settings: BusSettings) -> ssl.SSLContext:
    """Return the context that the settings describe. Reads files, so call it off the event loop.

    Raises:
        OSError: a file cannot be read, or holds no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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
