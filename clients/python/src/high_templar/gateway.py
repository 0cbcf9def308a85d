"""Runs the gateway's binary as a child process, for tests and development."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

from high_templar.binary import find_binary
from high_templar.transport import Deadline
from high_templar.websocket import Client

G = TypeVar("G", bound="Gateway")

START_SECONDS = 60.0
STOP_SECONDS = 10.0
LOG_LINES_MAX = 10_000

_LEVELS = ("info", "debug", "trace")
_PUBLIC = re.compile(r"browsers connect to (\S+)")
_INTERNAL = re.compile(r"metrics and health are on (\S+)")


class GatewayFailedError(RuntimeError):
    """The gateway ended or did not start; the message has its log."""


class Gateway:
    """A gateway on free ports of this machine; use it in a ``with``.

    ``backend_url`` is the site's address that ends in a slash. ``variables`` are more settings as
    environment variables, such as ``{"HT_LIMITS__SUBSCRIPTIONS": "10"}``; nothing else of this
    process's environment is handed on. It ends with this process, however that ends.
    """

    def __init__(self, backend_url: str, variables: Mapping[str, str] | None = None) -> None:
        self._variables = {
            "HT_LISTEN": "127.0.0.1:0",
            "HT_INTERNAL__LISTEN": "127.0.0.1:0",
            "HT_BACKEND__URL": backend_url,
            **(variables or {}),
            # Its addresses are read from its log.
            "HT_LOG__FORMAT": "text",
        }
        if self._variables.get("HT_LOG__LEVEL", "info") not in _LEVELS:
            self._variables["HT_LOG__LEVEL"] = "info"
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder: str | None = None
        self.url = ""
        """Where pages connect: ``ws://…/ws/``."""
        self.internal_url = ""
        """Where to publish."""

    def start(self) -> Gateway:
        """Starts it and waits until it listens. Raises `GatewayFailedError`.

        After a `stop` it listens on the same ports again.
        """
        # In its own folder: a high-templar.toml or .env nearby must not be read.
        self._folder = tempfile.mkdtemp(prefix="high-templar-")
        self._lines.clear()
        self._process = subprocess.Popen(  # noqa: S603
            [find_binary(), "serve"],
            env={"ENV_FILE": "/dev/null", **self._variables},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._guard = guard(self._process.pid, self._folder)
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        try:
            public = self.wait_for_line(_PUBLIC, START_SECONDS)[1]
            internal = self.wait_for_line(_INTERNAL, START_SECONDS)[1]
        except BaseException:
            self.stop()
            raise
        self.url, self.internal_url = f"ws://{public}/ws/", f"http://{internal}"
        self._variables["HT_LISTEN"], self._variables["HT_INTERNAL__LISTEN"] = public, internal
        return self

    def stop(self) -> None:
        """Shuts it down, gracefully if possible."""
        process, self._process = self._process, None
        watch, self._guard = self._guard, None
        folder, self._folder = self._folder, None
        try:
            if process is not None:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            reader = self._reader
            if reader is not None:
                reader.join(STOP_SECONDS)
            if process is not None and process.stderr is not None:
                process.stderr.close()
        finally:
            if watch is not None:
                watch.kill()
                watch.communicate()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def connect(self, **credentials: Any) -> Client:
        """A client's connection; takes the arguments of a `Client`."""
        return Client(self.url, **credentials)

    @property
    def log(self) -> str:
        """Its log since the start, at most the last 10,000 lines."""
        with self._changed:
            return "\n".join(self._lines)

    def wait_for_line(self, pattern: re.Pattern[str], seconds: float) -> re.Match[str]:
        """Waits for the first line of the log with this text. Raises `GatewayFailedError`."""
        deadline = Deadline(seconds)
        with self._changed:
            while True:
                for line in self._lines:
                    found = pattern.search(line)
                    if found:
                        return found
                is_over = self._reader is None or not self._reader.is_alive()
                if is_over or not self._changed.wait(deadline.left):
                    raise GatewayFailedError("\n".join(["the gateway's log:", *self._lines]))

    def __enter__(self: G) -> G:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None  # noqa: S101 # it was asked for
        for line in process.stderr:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                del self._lines[:-LOG_LINES_MAX]
                self._changed.notify_all()
        with self._changed:
            # Wakes all waiters: this thread is about to end.
            self._reader = None
            self._changed.notify_all()


def guard(pid: int, folder: str) -> subprocess.Popen[bytes]:
    """A process that ends the gateway when this one ends in any way: its end of a pipe closes."""
    script = 'read -r _; kill -KILL "$1" 2>/dev/null; rm -rf -- "$2"'
    return subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", script, "sh", str(pid), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C is for the tests.
        start_new_session=True,
    )
