"""The proxy that the chaos tests pull does what they believe it does."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while piece := connection.recv(1000):
                connection.sendall(piece)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(echo) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        yield client


def test_a_cut_holds_everything_and_a_restore_gives_it(proxy: Proxy, client: socket.socket) -> None:
    proxy.cut()
    client.sendall(b"held")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.3) as newcomer:
        newcomer.sendall(b"anyone?")
        with pytest.raises(TimeoutError):
            newcomer.recv(100)
    proxy.restore()
    client.settimeout(10)
    assert client.recv(100) == b"held"


def test_a_reset_ends_what_is_open_and_lets_new_ones_in(proxy: Proxy, client: socket.socket) -> None:
    assert proxy.connections == 1
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as newcomer:
        newcomer.sendall(b"again")
        assert newcomer.recv(100) == b"again"


def test_a_delay_slows_each_way(proxy: Proxy, client: socket.socket) -> None:
    proxy.delay_s = 0.2
    started = time.monotonic()
    client.sendall(b"slow")
    assert client.recv(100) == b"slow"
    assert time.monotonic() - started >= 0.4


def test_one_side_closing_closes_the_other(proxy: Proxy, client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b""


def test_a_target_that_is_away_is_an_ended_connection(proxy: Proxy) -> None:
    proxy.target_port = 1
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client, suppress(ConnectionResetError):
        assert client.recv(100) == b""
