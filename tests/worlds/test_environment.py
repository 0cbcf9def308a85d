"""Environments made for the Python version start the gateway as they are."""

import signal

import pytest
from worlds import eventually

ONLINE = "/api/user/notify_online/"
OWN = {"target": "order", "customer": "anna"}


def works(shop, page, via="rabbitmq"):
    page.opened()
    page.subscribe("orders", **OWN)
    order = shop.order("anna", via=via)
    assert page.heard("orders") == order


def test_the_usual_one(shop, gateway, open_page):
    session = shop.login("anna")["sessionid"]
    works(shop, open_page(at(gateway, f"?session_token={session}")))
    eventually(lambda: shop.online() == ["anna"], "anna online")
    _, headers = shop.calls(ONLINE)[0]
    assert headers["X-Session-Token"] == session
    assert headers["Referer"] == "https://shop.example/api/"
    assert "Cookie" not in headers
    log = "\n".join(gateway.program.lines)
    assert "variables of the Python version in use: BINDER_INTERNAL, APP_URL" in log
    assert "LOGFILE_PATH is not used" in log
    assert session not in log


def test_the_backend_judges_the_referer(shop, deploy, env_file, open_page):
    gateway = deploy({**env_file, "APP_URL": "https://elsewhere.example"})
    works(shop, open_page(gateway, shop.login("anna")))
    # Sessions of headers are not checked against CSRF.
    open_page(gateway, token="token-of-ben").opened()
    eventually(lambda: shop.online() == ["ben"], "ben online")
    assert {user for user, _ in shop.calls(ONLINE)} == {"ben"}


def test_only_the_address_of_the_app(shop, deploy, rabbitmq, open_page):
    gateway = deploy({"APP_URL": shop.app, "RABBITMQ_HOST": rabbitmq.host})
    works(shop, open_page(gateway, shop.login("anna")))
    eventually(lambda: shop.online() == ["anna"], "anna online")
    assert shop.calls(ONLINE)[0][1]["Referer"] == f"{shop.app}/api/"


def test_a_unix_socket(shop, deploy, rabbitmq, open_page):
    env_file = {
        "APP_URL": "https://shop.example",
        "BINDER_SOCKET": shop.unix,
        "RABBITMQ_HOST": rabbitmq.host,
    }
    gateway = deploy(env_file)
    works(shop, open_page(gateway, shop.login("anna")))
    eventually(lambda: shop.online() == ["anna"], "anna online")
    _, headers = shop.calls("/api/bootstrap/")[0]
    assert headers["Host"] == "localhost"


def test_served_on_a_unix_socket_as_before(shop, deploy, env_file, open_page, tmp_path):
    path = tmp_path / "ht.sock"
    gateway = deploy(env_file, {"HT_LISTEN": f"unix:{path}"})
    gateway.url = f"ws+unix:{path}:/ws/"
    works(shop, open_page(gateway, shop.login("anna")))
    # It comes back on the same path, whatever was left there.
    gateway.stop(signal.SIGKILL)
    gateway.start()
    works(shop, open_page(gateway, shop.login("anna")))


def test_without_the_app_there_is_no_referer(shop, deploy, rabbitmq, open_page):
    url = f"{shop.app}/api/"
    gateway = deploy({"BINDER_INTERNAL": url, "RABBITMQ_HOST": rabbitmq.host})
    works(shop, open_page(gateway, shop.login("anna")))
    eventually(lambda: shop.online() == ["anna"], "anna online")
    assert "Referer" not in shop.calls(ONLINE)[0][1]


def test_the_environment_wins_over_the_file(shop, deploy, env_file, rabbitmq, open_page):
    wrong = {"RABBITMQ_HOST": "127.0.0.1:1", "BINDER_INTERNAL": "http://127.0.0.1:1/api/"}
    right = {"RABBITMQ_HOST": rabbitmq.host, "BINDER_INTERNAL": shop.behind_tls}
    works(shop, open_page(deploy({**env_file, **wrong}, right), shop.login("anna")))


def test_rabbitmq_is_on_this_machine_unless_told_otherwise(shop, deploy, open_page):
    gateway = deploy({"APP_URL": shop.app}, wait=False)
    open_page(gateway, shop.login("anna")).opened()
    log = "\n".join(gateway.program.lines)
    assert "APP_URL implies RabbitMQ on the host localhost" in log
    assert "consuming triggers from RabbitMQ at localhost:5672" in log


@pytest.mark.parametrize("family", ["serve.py", "asgi.py"])
def test_an_empty_address_switches_rabbitmq_off(shop, deploy, env_file, open_page, family):
    if family == "asgi.py":
        env_file = {"CY_BINDER_INTERNAL": f"{shop.app}/api/"}
    gateway = deploy(env_file, {"HT_RABBITMQ__URL": ""})
    page = open_page(gateway, shop.login("anna"))
    works(shop, page, via="http")
    shop.order("anna", "not heard", via="rabbitmq")
    order = shop.order("anna", via="http")
    assert page.heard("orders") == order


def test_asgi_py_had_no_hooks(shop, deploy, rabbitmq, open_page):
    variables = {"CY_BINDER_INTERNAL": f"{shop.app}/api/", "RABBITMQ_HOST": rabbitmq.host}
    gateway = deploy(variables)
    page = open_page(gateway, shop.login("anna"))
    works(shop, page)
    page.barrier()
    assert gateway.stop() == 0
    assert shop.calls(ONLINE) == []
    assert "X-Session-Token" not in shop.calls("/api/bootstrap/")[0][1]


class at:
    """A gateway with something after its address."""

    def __init__(self, gateway, query):
        self.url = gateway.url + query
