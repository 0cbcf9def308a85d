"""The gateway as a child process of tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from high_templar import PublishError
from high_templar.gateway import Gateway
from high_templar.http import HttpTransport
from high_templar.transport import Deadline

SCRIPT = """
import sys
from high_templar.gateway import Gateway
gateway = Gateway("http://127.0.0.1:1/").start()
print(gateway._process.pid, gateway._folder, flush=True)
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


SETTINGS = """
from shop.settings import *
DEBUG = True
HIGH_TEMPLAR = {{
    "RUNSERVER": True,
    "URL": "http://127.0.0.1:{internal}",
    "PUBLIC_URL": "ws://127.0.0.1:{public}/ws/",
}}
"""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def start_runserver(
    folder, ports, *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, more=""
):
    """A development server with a gateway, on ports for site, internal and public listener."""
    site, internal, public = ports
    settings = SETTINGS.format(internal=internal, public=public) + more
    (folder / "development.py").write_text(settings)
    # The gateway refuses variables that it does not know, such as those of these tests.
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HT_")},
        "DJANGO_SETTINGS_MODULE": "development",
        "PYTHONUNBUFFERED": "1",
        "SHOP_DATABASE": str(folder / "shop.sqlite3"),
        "PYTHONPATH": os.pathsep.join(
            [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        ),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "django", "runserver", f"127.0.0.1:{site}", *options],
        env=variables,
        cwd=folder,
        start_new_session=True,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


@pytest.mark.parametrize("options", [["--noreload"], []])
def test_runserver_starts_it(tmp_path, options):
    site, internal, public = free_ports(3)
    server = start_runserver(tmp_path, [site, internal, public], *options)
    deadline = Deadline(60)
    transport = HttpTransport(f"http://127.0.0.1:{internal}")
    try:
        while not is_ready(transport):
            assert deadline.left, "the gateway does not come up"
            assert server.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    while is_ready(transport):
        assert deadline.left, "the gateway is still there"
        time.sleep(0.05)


@pytest.mark.parametrize("listener", ["internal", "public", "gateway"])
def test_runserver_reports_a_port_in_use(tmp_path, gateway, listener):
    site, internal, public = free_ports(3)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        if listener == "gateway":
            taken = int(gateway.internal_url.rpartition(":")[2])
        if listener == "public":
            public = taken
        else:
            internal = taken
        server = start_runserver(tmp_path, [site, internal, public], stderr=subprocess.PIPE)
        try:
            [line] = [line for line in until_exit(server.stderr) if "beside runserver" in line]
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()
    user = "another high-templar gateway" if listener == "gateway" else "another program"
    assert f"(status 1): port {taken} is in use by {user}" in line
    assert f"ss -ltnp 'sport = :{taken}'" in line


def test_runserver_reports_a_gateway_that_does_not_start(tmp_path):
    more = 'HIGH_TEMPLAR["GATEWAY"] = {"no_such_setting": 1}\nSILENCED_SYSTEM_CHECKS = ["E018"]\n'
    server = start_runserver(tmp_path, free_ports(3), stderr=subprocess.PIPE, more=more)
    try:
        lines = until_exit(server.stderr)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()
    assert "(status 78); its last line above has the reason" in lines[-1]


def test_runserver_prints_a_system_check_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = [*free_ports(2), other.getsockname()[1]]
        server = start_runserver(
            tmp_path,
            ports,
            "--noreload",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            more='SESSION_COOKIE_SAMESITE = "None"\n',
        )
        awaited = {"has exited", "Quit the server"}
        lines = []
        try:
            while awaited:
                lines.append(server.stdout.readline())
                assert lines[-1], "".join(lines)
                awaited = {each for each in awaited if each not in lines[-1]}
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()
    assert "".join(lines).count("high_templar.W014") == 1


def until_exit(log):
    """The lines up to the one about the gateway's exit."""
    lines = []
    for line in log:
        lines.append(line)
        if "the gateway beside runserver has exited" in line:
            break
    return lines


def is_ready(transport):
    try:
        return transport.get("ready", Deadline(5))[0] == 200
    except PublishError:
        return False
