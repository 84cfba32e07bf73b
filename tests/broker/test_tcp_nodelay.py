"""Listening sockets get TCP_NODELAY, and connections inherit it."""

import socket
import sys

import pytest

from broker.tcp_nodelay import set_tcp_nodelay_on_listeners


@pytest.mark.skipif(sys.platform != "linux", reason="sockets are found through /proc, which only Linux has")
def test_accepted_connections_inherit_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert set_tcp_nodelay_on_listeners() >= 1
        with socket.create_connection(server.getsockname()):
            accepted, _ = server.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
