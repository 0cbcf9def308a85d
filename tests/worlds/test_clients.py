"""Users of a deployment, each in a browser tab."""

import json
import signal
from uuid import UUID

import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect
from worlds import eventually

ONLINE = "/api/user/notify_online/"
OFFLINE = "/api/user/notify_offline/"
OWN = {"target": "order", "customer": "anna"}


@pytest.fixture(params=[False, True], ids=["old", "drop-in"])
def drop_in(request):
    """The old client, and the one that takes its place."""
    return request.param


@pytest.mark.parametrize("via", ["rabbitmq", "http"])
def test_an_order_comes_to_who_may_hear_it(shop, gateway, open_page, drop_in, via):
    page = open_page(gateway, shop.login("anna"))
    # Before the socket is open: it is queued.
    request = page.ask_for("orders", **OWN)
    assert page.opened() == [OWN, {"target": "news"}]
    assert page.answer()["code"] == "success"
    if not drop_in:
        assert UUID(request).version == 1
        # Beside the queued message, every open sends the subscription again.
        assert page.answer()["code"] == "success"
    for note in ["first", "größer <&> 😀\u2028", "x" * 100_000]:
        order = shop.order("anna", note, via)
        assert page.heard("orders") == order
        assert order["note"] == note
    page.barrier()
    assert len(page.all_heard("orders")) == 3


def test_a_token_in_the_address_lets_in(shop, gateway, open_page):
    page = open_page(gateway, token="token-of-sam")
    assert page.opened() == [{"target": "order", "customer": "*"}, {"target": "news"}]
    user, headers = shop.calls("/api/bootstrap/")[0]
    assert user == "sam"
    assert headers["Authorization"] == "Token token-of-sam"
    assert "Cookie" not in headers and "Origin" not in headers


def test_rights_differ(shop, gateway, open_page):
    pages = {name: open_page(gateway, shop.login(name)) for name in ["anna", "ben", "sam"]}
    for page in pages.values():
        page.opened()
    answers = {
        (name, customer): page.subscribe(customer, target="order", customer=customer)
        for name, page in pages.items()
        for customer in ["anna", "ben"]
    }
    refused = {key for key, answer in answers.items() if answer["code"] != "success"}
    assert refused == {("anna", "ben"), ("ben", "anna")}
    assert answers["anna", "ben"]["message"] == "room-not-found"
    orders = {customer: shop.order(customer) for customer in ["anna", "ben"]}
    assert pages["anna"].heard("anna") == orders["anna"]
    assert pages["ben"].heard("ben") == orders["ben"]
    assert pages["sam"].heard("anna") == orders["anna"]
    assert pages["sam"].heard("ben") == orders["ben"]
    for page in pages.values():
        page.barrier()
    heard = {name: len(page.events("heard")) for name, page in pages.items()}
    assert heard == {"anna": 1, "ben": 1, "sam": 2}


def test_who_unsubscribes_hears_no_more(shop, gateway, open_page):
    page = open_page(gateway, shop.login("anna"))
    page.opened()
    page.subscribe("one", **OWN)
    page.subscribe("other", **OWN)
    page.tell(command="unsubscribe", name="one")
    page.barrier()
    order = shop.order("anna")
    assert page.heard("other") == order
    page.barrier()
    assert page.all_heard("one") == []


def test_pings_keep_a_user_online(shop, gateway, open_page):
    page = open_page(gateway, shop.login("anna"), pingEvery=100)
    page.opened()
    for _ in range(3):
        page.event("frame", lambda event: event["text"] == "pong")
    eventually(lambda: len(shop.calls(ONLINE)) >= 3, "a hook for each ping")
    for user, headers in shop.calls(ONLINE):
        assert user == "anna"
        assert headers["X-Csrftoken"] in headers["Cookie"]
        assert headers["Referer"] == "https://shop.example/api/"
        assert headers["Content-Length"] == "0"
    assert shop.calls(OFFLINE) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_page_that_is_closed_is_offline(shop, gateway, open_page, how):
    anna, ben = (open_page(gateway, shop.login(name)) for name in ["anna", "ben"])
    for page in [anna, ben]:
        page.opened()
    eventually(lambda: shop.online() == ["anna", "ben"], "both online")
    anna.end(how)
    eventually(lambda: shop.online() == ["ben"], "anna offline")


def test_everybody_is_offline_when_the_gateway_leaves(shop, gateway, open_page):
    for name in ["anna", "ben", "sam"]:
        open_page(gateway, token=f"token-of-{name}").opened()
    eventually(lambda: len(shop.online()) == 3, "all online")
    assert gateway.stop() == 0
    assert shop.online() == []


def test_without_the_csrf_cookie_hooks_are_refused_by_the_backend_alone(shop, gateway, open_page):
    session = {"sessionid": shop.login("anna")["sessionid"]}
    page = open_page(gateway, session)
    page.opened()
    page.barrier()
    page.subscribe("orders", **OWN)
    order = shop.order("anna")
    assert page.heard("orders") == order
    # Django refuses before the view is asked; another user's hooks are let in meanwhile.
    open_page(gateway, shop.login("ben")).opened()
    eventually(lambda: shop.online() == ["ben"], "ben online")
    assert [user for user, _ in shop.calls(ONLINE)] == ["ben"]


def test_a_stranger_stays_away_and_gets_in_once_known(shop, gateway, open_page, drop_in):
    token = f"new-token-{drop_in}"
    page = open_page(gateway, token=token)
    page.ask_for("orders", **OWN)
    times = []
    for _ in range(2):
        first = page.event("frame")
        assert json.loads(first["text"]) == {"is_authorized": False}
        closed = page.event("close")
        assert closed["code"] == 1000
        times.append(closed["at"])
    assert times[1] - times[0] >= 2_000
    assert page.events("heard") == []
    shop.order("anna")
    # Now the backend knows the token: nobody has to touch the page.
    shop.give_token("anna", token)
    assert page.opened() == [OWN, {"target": "news"}]
    assert page.answer()["code"] == "success"
    order = shop.order("anna")
    assert page.heard("orders") == order


def test_the_frames_are_those_of_the_python_version(shop, gateway):
    cookies = "; ".join(f"{name}={text}" for name, text in shop.login("sam").items())
    room = {"target": "order", "customer": "anna"}
    with connect(gateway.url, additional_headers={"Cookie": cookies}) as client:
        rooms = [{"target": "order", "customer": "*"}, {"target": "news"}]
        assert json.loads(client.recv(5)) == {"is_authorized": True, "allowed_rooms": rooms}
        client.send("ping")
        assert client.recv(5) == "pong"
        client.send(json.dumps({"type": "subscribe", "room": room, "requestId": 7}))
        assert json.loads(client.recv(5)) == {"code": "success"}
        order = shop.order("anna", via="http")
        expected = {"type": "publish", "data": order, "requestId": 7}
        assert json.loads(client.recv(5)) == expected
        client.send(json.dumps({"type": "status"}))
        status = json.loads(client.recv(5))
        assert (status["open_connections"], status["num_rooms"]) == (1, 1)
    with connect(gateway.url) as client:
        assert json.loads(client.recv(5)) == {"is_authorized": False}
        with pytest.raises(ConnectionClosedOK):
            client.recv(5)
        assert client.close_code == 1000
