"""What the shop's publishers may do and what becomes of it."""

import json

import pika
import pytest
from worlds import eventually

OWN = {"target": "order", "customer": "anna"}


def test_a_connection_for_each_trigger_keeps_their_order(shop, gateway, open_page):
    page = open_page(gateway, token="token-of-anna")
    page.opened()
    page.subscribe("orders", **OWN)
    orders = [shop.order("anna", str(number)) for number in range(30)]
    assert [page.heard("orders") for _ in orders] == orders


def test_posts_that_do_not_arrive_do_not_matter_to_the_shop(shop, gateway, open_page):
    gateway.stop()
    assert shop.order("anna", via="http")["total"] == "9.50"
    gateway.start()
    page = open_page(gateway, token="token-of-anna")
    page.opened()
    page.subscribe("orders", **OWN)
    order = shop.order("anna", via="http")
    assert page.heard("orders") == order


def test_nonsense_and_other_routing_keys_disturb_nobody(shop, rabbitmq, gateway, open_page):
    page = open_page(gateway, token="token-of-anna")
    page.opened()
    page.subscribe("orders", **OWN)
    good = json.dumps({"rooms": [OWN], "data": "good"})
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        # It is there, and as the gateways of the Python version make it.
        channel.exchange_declare("hightemplar", "direct", durable=False, auto_delete=False)
        for key, body in [
            ("*", b"no JSON"),
            ("*", b"\xff\xfe"),
            ("*", b"{}"),
            ("*", b'{"rooms": [1], "data": 1}'),
            ("orders", good.encode()),
            ("", good.encode()),
            ("*", good.encode()),
        ]:
            channel.basic_publish("hightemplar", key, body)
    assert page.heard("orders") == "good"
    page.barrier()
    assert page.all_heard("orders") == ["good"]


@pytest.mark.parametrize("via", ["rabbitmq", "http"])
def test_two_gateways_both_hear(shop, gateway, deploy, env_file, open_page, via):
    other = deploy(env_file, {"HT_INTERNAL__LISTEN": "127.0.0.1:0"}, wait=False)
    pages = [open_page(each, token="token-of-anna") for each in [gateway, other]]
    for page in pages:
        page.opened()
        page.subscribe("orders", **OWN)

    def both_hear():
        order = shop.order("anna", via=via)
        return all(order in page.heard_soon("orders") for page in pages)

    eventually(both_hear, "a delivery by both gateways")
