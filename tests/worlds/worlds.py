"""What a deployment is made of: the gateway, the shop, pages in browsers, RabbitMQ."""

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from contextlib import suppress
from pathlib import Path

import requests

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BINARY = os.environ.get("HT_BINARY", ROOT / "target" / "debug" / "high-templar")
RABBITMQ_FOLDER = os.environ["HT_WORLDS_RABBITMQ"]
DEADLINE_SECONDS = 20


def free_port():
    """A port for something that is to come back on it: none that the kernel gives to others, and
    none that a RabbitMQ of tests may hold, which is away for a while in some of them."""
    while True:
        port = random.randrange(28_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def eventually(question, what="it"):
    """The first true answer; asks until the deadline."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"{what} has not come; the last answer was {answer!r}")
        time.sleep(0.02)


class Program:
    """A process whose lines are kept as they come."""

    def __init__(self, command, **options):
        self.lines = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, text=True, bufsize=1, **options
        )
        stream = self.process.stderr or self.process.stdout
        self.reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.reader.start()

    def _read(self, stream):
        for line in stream:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def line(self, fits, start=0):
        """The first line from `start` on that fits, and the number of the one after it."""
        until = time.monotonic() + DEADLINE_SECONDS
        with self.changed:
            while True:
                for number in range(start, len(self.lines)):
                    if fits(self.lines[number]):
                        return self.lines[number], number + 1
                start = len(self.lines)
                left = until - time.monotonic()
                if left <= 0 or not (self.reader.is_alive() or len(self.lines) > start):
                    raise AssertionError("no such line in:\n" + "\n".join(self.lines))
                self.changed.wait(left)

    def end(self, how=signal.SIGTERM):
        """Sends a signal and waits for the end; gives back the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            code = self.process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join(DEADLINE_SECONDS)
        return code


class Gateway:
    """The binary as a deployment starts it: an `.env` file, two addresses, nothing else."""

    def __init__(self, folder, env_file, variables, internal_port):
        self.folder = folder
        self.port, self.internal_port = free_port(), internal_port
        self.url = f"ws://127.0.0.1:{self.port}/ws/"
        self.internal = f"http://127.0.0.1:{self.internal_port}"
        (folder / "deployment.env").write_text(
            "".join(f"{name}={text}\n" for name, text in env_file.items())
        )
        self.variables = {
            "ENV_FILE": str(folder / "deployment.env"),
            "HT_LISTEN": f"127.0.0.1:{self.port}",
            "HT_INTERNAL__LISTEN": f"127.0.0.1:{self.internal_port}",
            **(variables or {}),
        }
        self.program = None
        self.log = []

    def start(self, wait=True):
        """Starts it and waits until it listens, or until it is ready, its broker included."""
        # It ends with the tests, however those end.
        command = ["setpriv", "--pdeathsig", "KILL", BINARY, "serve"]
        self.program = Program(
            command, cwd=self.folder, env=self.variables, stderr=subprocess.PIPE
        )
        self.program.line(lambda line: "triggers, metrics and health" in line)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        eventually(self.is_ready, "readiness")

    def is_ready(self):
        # On a busy machine one answer may be late; readiness has a deadline of its own.
        with suppress(requests.Timeout):
            return self.get("/ready").status_code == 200
        return False

    def get(self, path):
        return requests.get(self.internal + path, timeout=5)

    def stop(self, how=signal.SIGTERM):
        """Ends it by a signal; gives back the exit code."""
        code = self.program.end(how)
        self.log += self.program.lines
        self.program = None
        return code

    def end(self):
        """Ends it in peace: its last hooks must not reach the shop in the middle of another test."""
        if self.program:
            self.stop()
        print("\n".join(["the gateway's log:", *self.log]))


class Shop:
    """The backend, in a process of its own."""

    def __init__(self, folder, variables):
        self.folder, self.variables = folder, variables
        self.unix = folder / "shop.sock"
        self.program = self.port = None

    def start(self):
        command = [sys.executable, "-m", "shop.serve", self.folder / "shop.sqlite", self.unix]
        port = [self.port] if self.port else []
        self.program = Program(
            [*command, *port],
            cwd=HERE,
            env={**os.environ, **self.variables},
            stdout=subprocess.PIPE,
        )
        doors = json.loads(self.program.line(lambda line: line.startswith("{"))[0])
        self.port = doors["http"]
        self.app = f"http://127.0.0.1:{self.port}"
        self.behind_tls = f"http://127.0.0.1:{doors['https']}/api/"
        return self

    def stop(self):
        self.program.end(signal.SIGKILL)

    def login(self, name):
        """The cookies of a user's browser after the login."""
        form = {"username": name, "password": name}
        answer = requests.post(f"{self.app}/api/user/login/", json=form, timeout=10)
        answer.raise_for_status()
        return dict(answer.cookies)

    def online(self):
        return requests.get(f"{self.app}/api/user/online/", timeout=10).json()

    def calls(self, path):
        """User and headers of every call of the gateway to this path, in their order."""
        with closing(sqlite3.connect(self.folder / "shop.sqlite", timeout=20)) as database:
            rows = database.execute(
                "SELECT user, headers FROM shop_call WHERE path = ? ORDER BY id", [path]
            ).fetchall()
        return [(user, json.loads(headers)) for user, headers in rows]

    def give_token(self, name, key):
        with closing(sqlite3.connect(self.folder / "shop.sqlite", timeout=20)) as database:
            with database:
                database.execute(
                    "INSERT INTO shop_token (key, user_id)"
                    " SELECT ?, id FROM auth_user WHERE username = ?",
                    [key, name],
                )

    def forget(self):
        """Nobody is online, and no call was ever made."""
        with closing(sqlite3.connect(self.folder / "shop.sqlite", timeout=20)) as database:
            with database:
                database.execute("DELETE FROM shop_presence")
                database.execute("DELETE FROM shop_call")

    def order(self, customer, note="", via="rabbitmq", total="9.50"):
        """A customer buys something; gives back what listeners are told."""
        order = {"customer": customer, "note": note, "via": via, "total": total}
        answer = requests.post(f"{self.app}/api/order/", json=order, timeout=30)
        answer.raise_for_status()
        return answer.json()


class Page:
    """A page in a browser tab, which keeps one live socket."""

    def __init__(self, url, cookies=None, **options):
        if cookies:
            options["cookie"] = "; ".join(f"{name}={text}" for name, text in cookies.items())
        self.program = Program(
            ["node", HERE / "client" / "page.js", json.dumps({"url": url, **options})],
            stdout=subprocess.PIPE,
        )
        self.seen = 0

    def tell(self, **command):
        self.program.process.stdin.write(json.dumps(command) + "\n")

    def subscribe(self, name, **room):
        """Subscribes and waits for the answer; gives it back."""
        self.ask_for(name, **room)
        return self.answer()

    def ask_for(self, name, **room):
        self.tell(command="subscribe", name=name, room=room)
        return self.event("asked", name=name)["requestId"]

    def answer(self):
        """The next answer; answers carry no request id, they come in the order of the requests."""
        return frame(self.event("frame", lambda event: "code" in frame(event)))

    def event(self, kind, fits=lambda event: True, **fields):
        """The next event of this kind that fits; those before it are passed over."""
        def is_it(line):
            event = json.loads(line)
            return event["event"] == kind and fields.items() <= event.items() and fits(event)

        line, self.seen = self.program.line(is_it, self.seen)
        return json.loads(line)

    def opened(self):
        """Waits until it is let in; gives back what it may hear."""
        welcome = self.event("frame", lambda event: "is_authorized" in event["text"])
        message = json.loads(welcome["text"])
        assert message["is_authorized"] is True, message
        return message["allowed_rooms"]

    def heard(self, name):
        """The data of the next publication to this subscription."""
        return self.event("heard", name=name)["data"]

    def events(self, kind, **fields):
        """All events of this kind so far."""
        events = map(json.loads, list(self.program.lines))
        return [e for e in events if e["event"] == kind and fields.items() <= e.items()]

    def all_heard(self, name):
        return [event["data"] for event in self.events("heard", name=name)]

    def heard_soon(self, name):
        """What was heard up to now, with a little patience for what is under way."""
        before = len(self.all_heard(name))
        until = time.monotonic() + 0.3
        while len(self.all_heard(name)) == before and time.monotonic() < until:
            time.sleep(0.01)
        return self.all_heard(name)

    def barrier(self):
        """Returns when everything that was sent to this page before has come."""
        pongs = len([e for e in self.events("frame") if e["text"] == "pong"])
        self.tell(command="send", text="ping")
        eventually(
            lambda: len([e for e in self.events("frame") if e["text"] == "pong"]) > pongs, "a pong"
        )

    def end(self, how=signal.SIGTERM):
        self.program.end(how)


def frame(event):
    """The JSON object of a frame; empty for a pong."""
    return {} if event["text"] == "pong" else json.loads(event["text"])


class RabbitMq:
    """The broker of this run."""

    def __init__(self):
        self.url = self.call("url")
        self.host = self.url.partition("@")[2]

    def call(self, *words):
        action, *arguments = words
        command = [ROOT / "tests" / "support" / "rabbitmq", action, RABBITMQ_FOLDER, *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()
