"""What these tests have beside an artefact: programs, an API for the gateway, and patience with an end."""

import http.server
import json
import os
import re
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler
from urllib.request import build_opener

ROOT = Path(__file__).resolve().parents[2]
# For what a program does by itself: to start, to answer, to end.
DEADLINE_SECONDS = 60
# For a command that installs or compiles.
COMMAND_SECONDS = 1_500
# What a user's shell has not: settings of the gateway and of Python, of whoever runs these tests.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("HT_", "PYTHON", "PIP_", "VIRTUAL_ENV", "HIGH_TEMPLAR", "MATURIN_"))
}
ROOM = '{"target": "order"}'


def run(*command, **options):
    """What a program prints; it must succeed."""
    options = {"env": ENVIRONMENT, "timeout": COMMAND_SECONDS, **options}
    words = [str(word) for word in command]
    ended = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    assert ended.returncode == 0, f"{' '.join(words)}: status {ended.returncode}\n{ended.stdout}"
    return ended.stdout


def eventually(question, what):
    """The first true answer; asks until the deadline."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < until, f"{what} has not come"
        time.sleep(0.05)


class _Bootstrap(http.server.BaseHTTPRequestHandler):
    """Permits everybody the room of these tests."""

    def do_GET(self):  # noqa: N802
        body = json.dumps({"allowed_rooms": [json.loads(ROOM)]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        """Nothing: a request is not worth a line."""


@contextmanager
def api():
    """An API for a gateway: its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bootstrap)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Program:
    """A program that goes on, and what it logs."""

    def __init__(self, *command, **options):
        self.lines = []
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            **{"env": ENVIRONMENT, **options},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, pattern):
        """The match in the first line that has one; fails if the program ends without it."""

        def found():
            for line in list(self.lines):
                match = re.search(pattern, line)
                if match:
                    return match
            assert self._reader.is_alive(), f"no {pattern!r} in:\n" + "\n".join(self.lines)
            return None

        return eventually(found, f"{pattern!r} of {self.lines}")

    @property
    def pid(self):
        """Of the program that was started."""
        return self._process.pid

    def terminate(self):
        """Asks it to end."""
        self._process.terminate()

    def end(self):
        """Asks it to end; gives back its status."""
        try:
            self.terminate()
            status = self._process.wait(DEADLINE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
        self._reader.join(DEADLINE_SECONDS)
        assert not self._reader.is_alive(), "something that it started goes on"
        self._process.stdout.close()
        return status


def fetch(address):
    """The body of a response with status 200."""
    with build_opener(ProxyHandler({})).open(address, timeout=DEADLINE_SECONDS) as response:
        return response.read().decode()


def delivers(binary, gateway):
    """A page hears through this gateway what is published to it."""
    public = gateway.wait_for(r"browsers connect to (\S+)")[1]
    internal = gateway.wait_for(r"metrics and health are on (\S+)")[1]
    assert '"ready":true' in fetch(f"http://{internal}/ready")
    page = Program(binary, "listen", "--url", f"ws://{public}/ws/", "--room", ROOM)
    try:
        page.wait_for("listening to")
        run(binary, "publish", "--url", f"http://{internal}", "--room", ROOM, "--data", '{"id": 1}')
        page.wait_for(r'^\{"id": ?1\}$')
    finally:
        page.end()


def serves(binary, folder):
    """This binary is a gateway: it starts, delivers, and ends in order."""
    with api() as address:
        settings = {
            "HT_LISTEN": "127.0.0.1:0", "HT_INTERNAL__LISTEN": "127.0.0.1:0",
            "HT_BACKEND__URL": address, "HT_LOG__FORMAT": "text", "ENV_FILE": "/dev/null",
        }
        environment = {**ENVIRONMENT, **settings}
        assert "Everything works." in run(binary, "check", cwd=folder, env=environment)
        gateway = Program(binary, "serve", cwd=folder, env=environment)
        try:
            delivers(binary, gateway)
        finally:
            status = gateway.end()
        assert status == 0, gateway.lines
