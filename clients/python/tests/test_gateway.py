"""The gateway as a child process of tests."""

import os
import signal
import subprocess
import sys

import pytest

from high_templar.gateway import Gateway
from high_templar.transport import Deadline

SCRIPT = """
import sys
from high_templar.gateway import Gateway
gateway = Gateway("http://127.0.0.1:1/").start()
print(gateway._process.pid, gateway._folder.name, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"HT_LOG__LEVEL": "warn"},
        {"HT_LOG__LEVEL": "error"},
        {"HT_LOG__LEVEL": "debug"},
        {"HT_LOG__FORMAT": "json"},
    ],
)
def test_whatever_it_is_to_log(backend, variables):
    with Gateway(backend.url, variables) as gateway:
        assert gateway.internal_url.rpartition(":")[2].isdigit()
        with gateway.connect() as page:
            assert page.is_authorized


def test_it_ends_with_a_process_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid, folder = parent.stdout.readline().split()
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = Deadline(20)
    while os.path.exists(f"/proc/{pid}/exe") or os.path.exists(folder):
        assert deadline.left, "the gateway is still there"
