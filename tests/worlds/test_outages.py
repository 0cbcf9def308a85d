"""Everything breaks once; nobody touches the clients, and deliveries flow again."""

import signal

import pytest
import requests
from worlds import Shop
from worlds import eventually

OWN = {"target": "order", "customer": "anna"}

both_clients = pytest.mark.parametrize("drop_in", [False, True], ids=["old", "drop-in"])


@both_clients
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_clients_come_back_to_a_new_gateway(shop, gateway, open_page, how):
    page = open_page(gateway, shop.login("anna"))
    page.opened()
    request = page.ask_for("orders", **OWN)
    page.answer()
    order = shop.order("anna")
    assert page.heard("orders") == order

    code = gateway.stop(how)
    assert code == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    page.event("close")
    # Refused connections, too, are tried again.
    page.event("close")
    gateway.start()
    page.opened()
    assert page.answer()["code"] == "success"
    order = shop.order("anna")
    assert page.heard("orders") == order
    page.barrier()
    assert len(page.all_heard("orders")) == 2


@both_clients
def test_what_is_asked_for_during_the_outage_is_there_after_it(shop, gateway, open_page):
    page = open_page(gateway, shop.login("anna"))
    page.opened()
    gateway.stop()
    page.event("close")
    request = page.ask_for("orders", **OWN)
    gateway.start()
    page.opened()
    assert page.answer()["code"] == "success"
    order = shop.order("anna", via="http")
    assert page.heard("orders") == order


def test_rabbitmq_goes_and_comes_back(shop, rabbitmq, gateway, open_page):
    page = open_page(gateway, shop.login("anna"))
    page.opened()
    page.subscribe("orders", **OWN)
    order = shop.order("anna")
    assert page.heard("orders") == order

    rabbitmq.call("stop")
    try:
        with pytest.raises(requests.HTTPError):
            shop.order("anna", "nobody hears of it")
        eventually(lambda: gateway.get("/ready").status_code == 503, "word of the outage")
        # Whoever posts a trigger and looks at the answer learns that nobody hears of it.
        trigger = {"rooms": [OWN], "data": "lost"}
        answer = requests.post(f"{gateway.internal}/trigger/", json=trigger, timeout=10)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        # What needs no broker goes on.
        newcomer = open_page(gateway, shop.login("ben"))
        newcomer.opened()
    finally:
        rabbitmq.call("again")
    gateway.wait_ready()
    # Pages may have missed something: they are told of a gap, reconnect and fetch again.
    page.event("close")
    page.opened()
    assert page.answer()["code"] == "success"
    # The exchange is not durable: it is the gateway that made it again.
    for via in ["rabbitmq", "http", "rabbitmq"]:
        order = shop.order("anna", via=via)
        assert page.heard("orders") == order
    page.barrier()
    assert len(page.all_heard("orders")) == 4
    assert len(page.events("close")) == 1


def test_a_gateway_that_starts_before_rabbitmq_waits_for_it(
    shop, rabbitmq, deploy, env_file, open_page
):
    rabbitmq.call("kill")
    try:
        gateway = deploy(env_file, wait=False)
        page = open_page(gateway, shop.login("anna"))
        page.opened()
        page.subscribe("orders", **OWN)
    finally:
        rabbitmq.call("again")
    gateway.wait_ready()
    # It was connected before the gateway heard anything.
    page.event("close")
    page.opened()
    assert page.answer()["code"] == "success"
    order = shop.order("anna")
    assert page.heard("orders") == order


def test_the_backend_goes_and_comes_back(rabbitmq, shop, deploy, env_file, open_page, tmp_path):
    own_shop = Shop(tmp_path, shop.variables).start()
    gateway = deploy({**env_file, "BINDER_INTERNAL": f"{own_shop.app}/api/"})
    cookies = own_shop.login("anna")
    inside = open_page(gateway, cookies)
    inside.opened()
    inside.subscribe("orders", **OWN)
    try:
        own_shop.stop()
        # Who is in stays in; who comes is told to come back later, and does.
        outside = open_page(gateway, cookies)
        assert outside.event("frame")["text"].replace(" ", "") == '{"is_authorized":false}'
        assert outside.event("close")["code"] == 1013
        own_shop.start()
        outside.opened()
        outside.subscribe("orders", **OWN)
        order = own_shop.order("anna")
        assert inside.heard("orders") == order
        assert outside.heard("orders") == order
        assert inside.events("close") == []
        eventually(lambda: own_shop.online() == ["anna"], "anna online")
    finally:
        own_shop.stop()
