"""Proxies between a publisher and its gateway that do not know ``Expect: 100-continue``."""

import http.client
import http.server
import os
import signal
import socket
import threading
import time

import pytest

from high_templar import Publisher
from high_templar import Trigger
from high_templar import UnavailableError
from high_templar.gateway import Gateway
from high_templar.transport import Deadline

NEWS = {"target": "news"}


class Proxy:
    """Passes requests on when it has them whole, and never asks for a body."""

    def __init__(self, port):
        self.seen = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_expect_100(self):
                return True

            def do_POST(self):
                proxy.seen.append((self.command, "Expect" in self.headers))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                gateway = http.client.HTTPConnection("127.0.0.1", port)
                try:
                    gateway.request(self.command, self.path, body or None)
                    answer = gateway.getresponse()
                    content = answer.read()
                finally:
                    gateway.close()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST  # noqa: N815 # named by the base class

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def own(backend):
    with Gateway(backend.url) as gateway:
        yield gateway


@pytest.fixture
def proxy(own):
    with Proxy(int(own.internal_url.rpartition(":")[2])) as proxy:
        yield proxy


def test_a_proxy_that_ignores_it(own, proxy):
    with own.connect() as page, Publisher(proxy.url, timeout=20) as publisher:
        page.subscribe(NEWS)
        begun = time.monotonic()
        assert publisher.publish(NEWS, 1).position
        waited = time.monotonic() - begun
        # Whoever pays for it pays once.
        assert proxy.seen == [("POST", True), ("GET", False)]
        publisher.publish(NEWS, 2)
        publisher.publish_all([Trigger(NEWS, 3), Trigger(NEWS, "x" * 100_000)])
        assert proxy.seen[2:] == [("POST", False)] * 2
        assert [page.next().data for _ in range(3)] == [1, 2, 3]
        assert publisher.counts == (4, 0, 0)
    assert waited < 10


def test_it_is_tried_again_after_a_while(proxy, monkeypatch):
    with Publisher(proxy.url, timeout=20) as publisher:
        publisher.publish(NEWS, 1)
        publisher.publish(NEWS, 2)
        monkeypatch.setattr(publisher._transport, "_plain_until", 0.0)
        publisher.publish(NEWS, 3)
    asked = [expects for method, expects in proxy.seen if method == "POST"]
    assert asked == [True, False, True]


def test_a_short_timeout_is_enough(proxy):
    """That of a Django site."""
    deadline = Deadline(30)
    while True:
        with Publisher(proxy.url, timeout=0.5, on_error="log") as publisher:
            if publisher.publish(NEWS, 1):
                break
        assert deadline.left, "a busy machine may fail some times, but not always"


def test_a_gateway_that_hangs_behind_it_has_nothing_to_deliver_late(own, proxy):
    pid = own._process.pid
    with own.connect() as page:
        page.subscribe(NEWS)
        os.kill(pid, signal.SIGSTOP)
        try:
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
            with Publisher(proxy.url, timeout=0.5, attempts=1) as publisher:
                with pytest.raises(UnavailableError, match="does not react"):
                    publisher.publish(NEWS, "late")
        finally:
            os.kill(pid, signal.SIGCONT)
        with Publisher(own.internal_url, timeout=20) as publisher:
            publisher.publish(NEWS, "after")
        assert page.next().data == "after"
        assert page.nothing_heard()


class Script:
    """A server whose connections each follow a script: what to read up to, and what to answer."""

    def __init__(self, *scripts):
        self.scripts, self.received = list(scripts), []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.accept)]

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.server.close()

    def accept(self):
        for number, script in enumerate(self.scripts):
            sock, _ = self.server.accept()
            self.received.append(b"")
            thread = threading.Thread(target=self.serve, args=[sock, number, script])
            self.threads.append(thread)
            thread.start()

    def serve(self, sock, number, script):
        with sock:
            for end, answer in script:
                while end not in self.received[number]:
                    data = sock.recv(65536)
                    if not data:
                        return
                    self.received[number] += data
                sock.sendall(answer)
            self.over.wait(60)


OK = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"position":1}'
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
END = b"\r\n\r\n"


def test_one_that_is_only_slow_is_still_asked_first():
    late = [(END, b""), (b"slow", CONTINUE + OK), (b"again", b"")]
    with (
        Script(late, [(b"GET /live", OK)]) as server,
        Publisher(server.url, timeout=2, attempts=1) as publisher,
    ):
        assert publisher.publish(NEWS, "slow").position == 1
        assert b"GET /live HTTP/1.1" in server.received[1]
        # It never gets this one: it is not asked for.
        with pytest.raises(UnavailableError):
            publisher.publish(NEWS, "again")
        assert b"again" not in server.received[0]


@pytest.mark.parametrize("health", [b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", b""])
def test_without_a_sign_of_life_nothing_is_sent(health):
    with (
        Script([(END, b"")], [(END, health)]) as server,
        Publisher(server.url, timeout=1, attempts=1) as publisher,
    ):
        with pytest.raises(UnavailableError, match="nothing was sent"):
            publisher.publish(NEWS, "secret")
        assert b"Expect: 100-continue" in server.received[0]
        assert b"secret" not in server.received[0]


def test_a_refusal_in_place_of_100():
    refusing = [(END, b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")]
    with Script(refusing, [(b"plain", OK)]) as server, Publisher(server.url) as publisher:
        assert publisher.publish(NEWS, "plain").position == 1
        assert b"Expect" not in server.received[1]
