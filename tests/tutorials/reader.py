"""A reader of a tutorial: types its blocks in an empty folder, as fast as a machine can."""

import os
import random
import re
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DEADLINE_SECONDS = 30
# `pip install` and the like.
COMMAND_SECONDS = 300
# A reader's shell knows nothing of these tests, and the gateway refuses variables that it does not
# know.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("HT_")}


def eventually(question, what="it"):
    """The first true answer; asks until the deadline."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"{what} has not come; the last answer was {answer!r}")
        time.sleep(0.05)


def is_open(port):
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    """A port that the kernel gives to nobody else meanwhile."""
    while True:
        port = random.randrange(20_000, 28_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Reader:
    """Carries out blocks. Where a tutorial has a port of this machine, the reader has a free one:
    ``ports`` maps the ones to the others. ``replaced`` are other texts to be typed differently."""

    def __init__(self, folder, ports, replaced=None):
        self.folder = folder
        self.ports = {port: free_port() for port in ports}
        self._replaced = replaced or {}
        self._state = folder / ".reader"
        self._state.write_text(f"cd {folder}\n")
        self._programs = []

    def text(self, text):
        """What is typed in place of this."""
        for old, new in self._replaced.items():
            text = text.replace(old, str(new))
        ports = "|".join(map(str, self.ports))
        return re.sub(
            rf"(?<=[ :=\"(])(?:{ports})\b", lambda found: str(self.ports[int(found[0])]), text
        )

    def carry_out(self, block):
        """Writes the file, or runs the commands; gives back what those print."""
        if block.file:
            name, is_addition = block.file
            path = self.site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a" if is_addition else "w") as file:
                file.write(self.text(block.text))
        elif (block.language, block.word) == ("sh", ""):
            return self.run(block.text)
        elif (block.language, block.word) == ("sh", "forever"):
            self.start(block.text)
        return ""

    @property
    def site(self):
        """Where the reader's shell is."""
        return Path(self._state.read_text().partition("\n")[0].removeprefix("cd "))

    def run(self, commands):
        """Runs commands in the reader's shell, which keeps its folder and its variables."""
        keep = f'{{ echo "cd $PWD"; export -p; }} >"{self._state}"'
        script = f'. "{self._state}"\nset -euo pipefail\n{self.text(commands)}\n{keep}'
        done = subprocess.run(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        return done.stdout

    def start(self, command):
        """Starts a program in a terminal of its own; it ends with the reader."""
        log = self.folder / f".terminal-{len(self._programs)}"
        with log.open("w") as output:
            program = subprocess.Popen(
                ["bash", "-c", f'. "{self._state}"\nexec {self.text(command)}'],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        self._programs.append((program, log))

    def stop(self, word):
        """Stops the programs whose command has this word."""
        for program, _ in [each for each in self._programs if word in each[0].args[-1]]:
            os.killpg(program.pid, signal.SIGTERM)
            program.wait(30)

    def wait_for(self, port):
        """Waits until a program listens on what the tutorial calls this port."""

        def answer():
            for program, log in self._programs:
                assert program.poll() is None, log.read_text()
            return is_open(self.ports[port])

        eventually(answer, f"port {port}")

    def story(self):
        """What the programs printed, for a test that fails."""
        return "\n".join(log.read_text() for _, log in self._programs)

    def leave(self):
        """Stops every program."""
        for program, _ in self._programs:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGTERM)
        for program, _ in self._programs:
            try:
                program.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait()
