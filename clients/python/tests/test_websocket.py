"""The client of the test helpers, with messages that later gateways may send."""

import base64
import hashlib
import json
import socket
import threading
from contextlib import contextmanager

import pytest

from high_templar.websocket import Client
from high_templar.websocket import Publication

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
FIRST = {"is_authorized": True, "allowed_rooms": []}
LATER = [
    {"type": "gap", "reason": "rabbitmq"},
    {"type": "unsubscribed", "requestId": "a", "code": "error", "message": "permissions"},
    {"type": "notice", "code": "success", "requestId": "a"},
    {"type": None, "code": "error"},
]


def frame(message):
    if isinstance(message, bytes):
        return message
    text = (message if isinstance(message, str) else json.dumps(message)).encode()
    assert len(text) < 126
    return bytes([0x81, len(text)]) + text


def admit(connection):
    """Accepts a handshake and sends the first message."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    lines = dict(line.split(": ", 1) for line in head.decode().strip().split("\r\n")[1:])
    key = hashlib.sha1((lines["Sec-WebSocket-Key"] + GUID).encode()).digest()
    accept = base64.b64encode(key).decode()
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    connection.sendall(answer.encode() + frame(FIRST))


@contextmanager
def scripted(*turns):
    """A scripted gateway: it replies to each message with the messages of the next turn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                admit(connection)
                for turn in turns:
                    if not connection.recv(4096):
                        return
                    connection.sendall(b"".join(map(frame, turn)))
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ws/"
        thread.join(10)
        assert not thread.is_alive()


def test_messages_of_unknown_types_are_no_replies():
    refused = {"code": "error", "message": "room-not-found"}
    turns = [[*LATER, {"code": "success"}], [*LATER, refused]]
    with scripted(*turns) as url, Client(url) as client:
        client.subscribe({"target": "a"}, "a")
        with pytest.raises(PermissionError, match="room-not-found"):
            client.subscribe({"target": "b"}, "b")


def test_messages_of_unknown_types_are_no_publications():
    publication = {"type": "publish", "data": 7, "requestId": "a"}
    turns = [[*LATER, "pong"], [{"code": "success"}, *LATER, publication]]
    with scripted(*turns) as url, Client(url) as client:
        assert client.nothing_heard()
        client.subscribe({"target": "a"}, "a")
        assert client.next() == Publication(7, "a")


def test_publications_that_arrive_during_a_ping_are_kept():
    publications = [{"type": "publish", "data": n, "requestId": "a"} for n in range(5)]
    turns = [
        [{"code": "success"}, publications[0]],
        [publications[1], *LATER, publications[2], "pong"],
        [publications[3], "pong", publications[4]],
    ]
    with scripted(*turns) as url, Client(url) as client:
        client.subscribe({"target": "a"}, "a")
        client.ping()
        assert not client.nothing_heard()
        assert [client.next().data for _ in range(5)] == [0, 1, 2, 3, 4]


def test_publications_before_the_close_are_kept():
    publication = {"type": "publish", "data": 7, "requestId": "a"}
    closing = bytes([0x88, 2]) + (4200).to_bytes(2, "big")
    with scripted([{"code": "success"}, publication, closing]) as url, Client(url) as client:
        client.subscribe({"target": "a"}, "a")
        assert client.close_code() == 4200
        assert client.next() == Publication(7, "a")


def test_a_ping_ends_after_its_timeout_whatever_arrives_meanwhile():
    publication = {"type": "publish", "data": 7, "requestId": "a"}
    with scripted([publication] * 3) as url, Client(url, timeout=0.2) as client:
        with pytest.raises(TimeoutError):
            client.ping()
        assert [client.next().data for _ in range(3)] == [7, 7, 7]
