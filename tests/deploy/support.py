"""What the tests have in common: programs that run until the test ends, and waiting for conditions."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ["WORK"])
BINARY = os.environ["HT_GATEWAY_BIN"]
DEADLINE = 60.0

Found = TypeVar("Found")


def version() -> str:
    """The version in Cargo.toml."""
    text = (ROOT / "Cargo.toml").read_text()
    [found] = re.findall(r'^version = "([^"]+)"$', text, re.MULTILINE)
    return str(found)


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def eventually(what: str, look: Callable[[], Found | None]) -> Found:
    """Waits until there is something."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE} s: {what}")


def status(url: str) -> int | None:
    """The status of a response, if there is one."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            code: int = response.status
            return code
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Program:
    """A process with its output in a file."""

    def __init__(self, arguments: list[str], folder: Path, **options: Any) -> None:
        self.log = folder / f"{Path(arguments[0]).name}-{free_port()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )

    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Waits until it has printed a text."""

        def look() -> bool:
            assert self.process.poll() is None or text in self.said(), self.said()
            return text in self.said()

        eventually(f"{text!r} in {self.log}", look)

    def stop(self) -> int:
        """Ends it by SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)


class Api:
    """An API that admits everybody, in a thread."""

    def __init__(self) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                body = json.dumps({"allowed_rooms": [{"room": "*"}]}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/"

    def stop(self) -> None:
        """Ends it."""
        self.server.shutdown()
        self.server.server_close()
