"""A gateway of the Python version on the same exchange, as during a migration."""

import os
import subprocess

import pytest
import requests
from worlds import ROOT, Program, eventually, free_port

OWN = {"target": "order", "customer": "anna"}

COMMANDS = [
    {"command": "invalidate", "everyone": True},
    {"command": "permit", "user": "anna", "allowed_rooms": []},
    {"command": "unsubscribe", "everyone": True, "from": [OWN]},
    {"command": "disconnect", "everyone": True, "come_back": "never"},
]


class PythonGateway:
    """The Python version with the packages that it pins, as its deployments run it."""

    def __init__(self, shop, rabbitmq):
        host = f"127.0.0.1:{free_port()}"
        self.url, self.http = f"ws://{host}/ws/", f"http://{host}/"
        peer = ROOT / "bench" / "peers" / "python" / "serve.py"
        command = ["setpriv", "--pdeathsig", "KILL", os.environ["HT_WORLDS_PYTHON31"], peer]
        variables = {"API_URL": f"{shop.app}/api/", "RABBITMQ_URL": rabbitmq.url, "HOST": host}
        self.program = Program(command, env=variables, stderr=subprocess.PIPE)
        eventually(self.is_up, "the Python version")

    def is_up(self):
        try:
            return requests.get(self.http, timeout=5).status_code == 404
        except requests.ConnectionError:
            return False


@pytest.fixture
def python_gateway(shop, rabbitmq):
    gateway = PythonGateway(shop, rabbitmq)
    yield gateway
    gateway.program.end()


def test_commands_are_nothing_to_it(shop, gateway, python_gateway, open_page):
    page = open_page(python_gateway, shop.login("anna"))
    page.opened()
    page.subscribe("orders", **OWN)
    # Its queue is bound some time after it listens.
    eventually(lambda: shop.order("anna") in page.heard_soon("orders"), "a delivery")
    page.barrier()
    before = len(page.all_heard("orders"))
    answer = requests.post(f"{gateway.internal}/trigger/", json=COMMANDS, timeout=10)
    assert answer.status_code == 200, answer.text
    order = shop.order("anna")
    eventually(lambda: order in page.all_heard("orders"), "the next order")
    page.barrier()
    assert page.all_heard("orders")[before:] == [order]
    unusual = [line for line in python_gateway.program.lines if "Running on" not in line]
    assert unusual == []
