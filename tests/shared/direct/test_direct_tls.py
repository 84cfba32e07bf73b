"""Certificates of single starts: each side accepts exactly the one that it knows."""

import asyncio
import contextlib
import socket
import ssl

import pytest

from shared.direct.direct_tls import BootCertificate, shake_hands


def certificate() -> BootCertificate:
    made = BootCertificate.make()
    assert made is not None
    return made


async def meet(accepting: ssl.SSLContext, connecting: ssl.SSLContext) -> bytes:
    """Connect both, and return what the connecting side receives first."""
    left, right = socket.socketpair()
    for end in (left, right):
        end.setblocking(False)
    server = accepting.wrap_socket(left, server_side=True, do_handshake_on_connect=False)
    client = connecting.wrap_socket(right, do_handshake_on_connect=False)
    try:
        async with asyncio.timeout(20):
            results = await asyncio.gather(shake_hands(server), shake_hands(client), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            assert server.version() == "TLSv1.3"
            server.send(b"hello")
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    return client.recv(100)
                await asyncio.sleep(0)
    finally:
        server.close()
        client.close()


async def test_two_that_know_each_other_meet() -> None:
    pi, server, other = certificate(), certificate(), certificate()
    accepting = server.accepting_context([b"garbage", other.certificate, pi.certificate])
    assert await meet(accepting, pi.connecting_context(server.certificate)) == b"hello"


async def test_a_stranger_is_refused() -> None:
    pi, server, stranger = certificate(), certificate(), certificate()
    with pytest.raises(ssl.SSLError):
        await meet(server.accepting_context([pi.certificate]), stranger.connecting_context(server.certificate))


async def test_another_server_is_refused() -> None:
    pi, server, impostor = certificate(), certificate(), certificate()
    with pytest.raises(ssl.SSLError):
        await meet(impostor.accepting_context([pi.certificate]), pi.connecting_context(server.certificate))


async def test_a_client_without_a_certificate_is_refused() -> None:
    server = certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=server.certificate)
    with pytest.raises(ssl.SSLError):
        await meet(server.accepting_context([]), context)


def test_a_peer_without_a_real_certificate_cannot_be_trusted() -> None:
    with pytest.raises(ssl.SSLError):
        certificate().connecting_context(b"garbage")
    assert "PRIVATE" not in repr(certificate())
