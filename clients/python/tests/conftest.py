"""What the tests share."""

import contextlib
import http.server
import json
import shutil
import socket
import threading

import pytest
import tls

from high_templar.gateway import Gateway


def serve(server):
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()


class Backend:
    """A backend that admits everybody to every room of the key ``target``."""

    def __enter__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps({"allowed_rooms": [{"target": "*"}]}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        serve(self.server)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="session")
def backend():
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="session")
def gateway(backend):
    """A gateway for all tests that only talk to it."""
    with Gateway(backend.url, {"HT_INTERNAL__API_KEY": "key"}) as gateway:
        yield gateway


class Trickster:
    """Stands for the gateway and answers what a test wants: a list of (status, headers, body).

    ``"cut"`` ends the connection in place of an answer, ``"hang"`` never answers. What came is in
    ``requests``, with the number of its connection.
    """

    def __init__(self, answers):
        self.answers, self.requests, self.connections = list(answers), [], 0
        self.lock, self.over = threading.Lock(), threading.Event()

    def __enter__(self):
        trickster = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                with trickster.lock:
                    trickster.connections += 1
                    self.number = trickster.connections
                super().setup()

            def do_GET(self):
                self.do_POST()

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with trickster.lock:
                    said = json.loads(body or "null")
                    trickster.requests.append((self.number, said, self.headers))
                    answer = trickster.answers.pop(0) if trickster.answers else None
                if answer == "cut":
                    self.close_connection = True
                    return
                if answer == "hang":
                    trickster.over.wait()
                    self.close_connection = True
                    return
                count = len(trickster.requests)
                status, headers, text = answer or (200, {}, json.dumps({"position": count}))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        serve(self.server)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def trickster():
    """Makes gateways that answer what a test wants."""
    with contextlib.ExitStack() as stack:
        yield lambda *answers: stack.enter_context(Trickster(answers))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate of ``localhost`` that is its own CA, with its key, in one file."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    return tls.certificate(tmp_path_factory.mktemp("tls") / "cert.pem")


@pytest.fixture
def black_hole():
    """An address that swallows connections: SYNs are lost, as the queue of those before is full."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(hole.getsockname())
        yield hole.getsockname()
