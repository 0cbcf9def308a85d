"""Publishing over HTTP, against the real gateway and against one that misbehaves."""

import asyncio
import logging
import os
import re
import ssl
import threading
from inspect import signature

import pytest

import high_templar
from high_templar import AsyncPublisher
from high_templar import InvalidTriggerError
from high_templar import Publisher
from high_templar import PublishError
from high_templar import Receipt
from high_templar import RefusedError
from high_templar import Trigger
from high_templar import UnauthorizedError
from high_templar import UnavailableError
from high_templar import UnconfirmedError
from high_templar.gateway import Gateway

NEWS = {"target": "news"}


@pytest.fixture
def publisher(gateway):
    with Publisher(gateway.internal_url, api_key="key") as publisher:
        yield publisher


def test_a_page_hears_what_is_published(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe(NEWS, "n")
        data = {"text": 'é 😀 "quoted"', "list": [1, 1.5, None, True], "nested": {"a": {}}}
        receipt = publisher.publish(NEWS, data)
        assert page.next() == (data, "n")
        assert receipt.position > 0
        assert not receipt.duplicate


def test_a_publication_has_the_cursor_of_its_position(gateway, publisher):
    receipt = publisher.publish(NEWS, 1)
    assert f"-{receipt.position}-" in receipt.cursor
    assert publisher.position() == receipt.cursor
    later = AsyncPublisher(gateway.internal_url, api_key="key")
    assert asyncio.run(later.position(timeout=5)) == receipt.cursor
    with pytest.raises(UnauthorizedError):
        Publisher(gateway.internal_url, api_key="another").position()


def test_one_trigger_for_several_rooms(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe({"target": "a"}, "a")
        page.subscribe({"target": "b"}, "b")
        publisher.publish([{"target": "a"}, {"target": "b"}], 1)
        assert {page.next().request_id, page.next().request_id} == {"a", "b"}


def test_a_known_id_is_not_delivered_again(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe(NEWS)
        first = publisher.publish(NEWS, 1, id="the same")
        again = publisher.publish(NEWS, 1, id="the same")
        publisher.publish(NEWS, 2)
        assert not first.duplicate
        assert again.duplicate
        assert [page.next().data, page.next().data] == [1, 2]


def test_many_go_in_few_requests_and_in_order(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe(NEWS)
        receipts = publisher.publish_all(Trigger(NEWS, number) for number in range(2_500))
        positions = [receipt.position for receipt in receipts]
        assert positions == sorted(positions)
        assert [page.next().data for _ in range(2_500)] == list(range(2_500))


def test_one_connection_is_kept(trickster):
    with trickster() as gateway, Publisher(gateway.url) as publisher:
        for number in range(20):
            publisher.publish(NEWS, number)
        assert gateway.connections == 1


def test_a_connection_that_ended_while_idle_is_no_failure(backend):
    with Gateway(backend.url) as gateway, Publisher(gateway.internal_url, attempts=1) as publisher:
        publisher.publish(NEWS, 1)
        gateway.stop()
        gateway.start()
        assert publisher.publish(NEWS, 2).position == 1
        assert publisher.counts == (2, 0, 0)


@pytest.mark.parametrize("status", [429, 503])
def test_tries_again_under_the_same_id(trickster, status):
    busy = (status, {"Retry-After": "0"}, '{"error": "leaving"}')
    with trickster(busy, "cut", None) as gateway, Publisher(gateway.url) as publisher:
        receipt = publisher.publish(NEWS, 1)
        bodies = [body for _, body, _ in gateway.requests]
        assert len(bodies) == 3
        assert bodies[0] == bodies[1] == bodies[2]
        assert bodies[0]["id"] == receipt.id
        # What ended on a kept connection was sent again at once, which is no attempt of its own.
        assert publisher.counts == (1, 0, 1)


def test_gives_up_after_the_attempts(trickster):
    busy = (503, {}, '{"error": "The broker is away."}')
    with trickster(busy, busy, busy) as gateway, Publisher(gateway.url, attempts=2) as publisher:
        with pytest.raises(UnavailableError, match=r"The broker is away. \(503\)") as caught:
            publisher.publish(NEWS, 1, id="x")
        assert caught.value.ids == ("x",)
        assert caught.value.is_transient
        assert len(gateway.requests) == 2
        assert publisher.counts == (0, 1, 1)


def test_does_not_wait_longer_than_its_timeout(trickster):
    later = (503, {"Retry-After": "3600"}, '{"error": "leaving"}')
    with trickster(later) as gateway, Publisher(gateway.url) as publisher:
        with pytest.raises(UnavailableError):
            publisher.publish(NEWS, 1)
        assert len(gateway.requests) == 1


@pytest.mark.parametrize("answer", ["hang", "cut", (504, {}, "{}"), (200, {}, "<html>")])
def test_what_was_sent_and_not_answered_is_unconfirmed(trickster, answer):
    with (
        trickster(answer) as gateway,
        Publisher(gateway.url, timeout=2 if answer == "hang" else 20, attempts=1) as publisher,
        pytest.raises(UnconfirmedError),
    ):
        publisher.publish(NEWS, 1)


def test_nobody_listens():
    with pytest.raises(UnavailableError, match="cannot reach the gateway") as caught:
        Publisher("http://127.0.0.1:1", attempts=1).publish(NEWS, 1)
    assert not isinstance(caught.value, UnconfirmedError)


def test_a_wrong_key(gateway):
    with pytest.raises(UnauthorizedError, match=r"internal\.api_key"):
        Publisher(gateway.internal_url, api_key="wrong").publish(NEWS, 1)


def test_the_gateway_reports_what_is_wrong(trickster):
    answer = (400, {}, '{"error": "no", "trigger": 1, "member": "rooms[0]"}')
    with trickster(answer) as gateway, Publisher(gateway.url) as publisher:
        triggers = [Trigger(NEWS, 1), Trigger(NEWS, 2)]
        with pytest.raises(RefusedError) as caught:
            publisher.publish_all(triggers)
        refused = caught.value
        assert (refused.status, refused.trigger, refused.member) == (400, 1, "rooms[0]")
        assert refused.refused is triggers[1]
        assert refused.ids == (triggers[1].id,)
        # The rest is published all the same.
        assert [body for _, body, _ in gateway.requests][1]["data"] == 1
        assert publisher.counts == (1, 1, 0)


def test_a_refused_trigger_does_not_take_the_others_along(gateway, caplog):
    """A room of 65 keys is refused by the real gateway, wherever it is in the request."""
    wide = {"target": "wide", **{f"k{number}": 1 for number in range(64)}}
    publisher = Publisher(gateway.internal_url, api_key="key", on_error="log")
    with gateway.connect() as page:
        page.subscribe(NEWS)
        rooms = [wide, NEWS, NEWS, wide, wide, NEWS, wide]
        receipts = publisher.publish_all(Trigger(room, number) for number, room in enumerate(rooms))
        assert [page.next().data for _ in range(3)] == [1, 2, 5]
    assert [bool(receipt) for receipt in receipts] == [room is NEWS for room in rooms]
    assert caplog.text.count("not published") == 4
    assert all(f"'{receipt.id}'" in caplog.text for receipt in receipts if not receipt)
    assert publisher.counts == (3, 4, 0)


def test_one_that_is_too_long_does_not_take_the_others_along(backend):
    with Gateway(backend.url, {"HT_LIMITS__TRIGGER_BYTES": "1KiB"}) as gateway:
        publisher = Publisher(gateway.internal_url)
        with gateway.connect() as page:
            page.subscribe(NEWS)
            triggers = [Trigger(NEWS, data) for data in ("a", "x" * 2000, "b" * 700, "c" * 700)]
            with pytest.raises(RefusedError) as caught:
                publisher.publish_all(triggers)
            assert caught.value.refused is triggers[1]
            assert [page.next().data[0] for _ in range(3)] == ["a", "b", "c"]


def test_too_much_is_refused(backend):
    variables = {"HT_LIMITS__TRIGGER_BYTES": "1KiB"}
    with Gateway(backend.url, variables) as gateway:
        with pytest.raises(RefusedError) as caught:
            Publisher(gateway.internal_url).publish(NEWS, "x" * 2000)
        assert caught.value.status == 413


def test_batches_before_the_failure_are_published(trickster):
    places = "[" + ",".join(["{}"] * 1_000).replace("{}", '{"position": 1}') + "]"
    with trickster((200, {}, places), (401, {}, "{}")) as gateway:
        publisher = Publisher(gateway.url)
        triggers = [Trigger(NEWS, number) for number in range(2_500)]
        with pytest.raises(UnauthorizedError) as caught:
            publisher.publish_all(triggers)
        assert caught.value.ids == tuple(trigger.id for trigger in triggers[1_000:])
        assert publisher.counts == (1_000, 1_500, 0)
        assert len(gateway.requests) == 2


def test_failures_are_logged_and_counted_if_so_wished(caplog):
    publisher = Publisher("http://127.0.0.1:1", attempts=1, on_error="log")
    with caplog.at_level(logging.ERROR, "high_templar"):
        receipt = publisher.publish(NEWS, {"secret": 1})
    assert not receipt
    assert isinstance(receipt.error, UnavailableError)
    assert "not published" in caplog.text
    assert "secret" not in caplog.text
    assert publisher.counts.failed == 1


@pytest.mark.parametrize(
    ("rooms", "data"),
    [
        (NEWS, float("nan")),
        (NEWS, float("inf")),
        (NEWS, object()),
        (NEWS, "\ud800"),
        ("news", 1),
        (["news"], 1),
        (None, 1),
        ({"a": object()}, 1),
    ],
)
def test_what_is_no_json_is_always_raised(rooms, data):
    publisher = Publisher("http://127.0.0.1:1", on_error="log")
    with pytest.raises(InvalidTriggerError):
        publisher.publish(rooms, data)


def test_a_unix_socket(backend, tmp_path):
    path = tmp_path / "internal.sock"
    with Gateway(backend.url, {"HT_INTERNAL__LISTEN": f"unix:{path}"}):
        for form in (f"unix:{path}", f"unix://{path}"):
            assert Publisher(form).publish(NEWS, 1).position


def test_a_prefix_before_the_endpoint(trickster):
    with trickster() as gateway, Publisher(f"{gateway.url}/inner") as publisher:
        publisher.publish(NEWS, 1)
        assert publisher._transport.address.prefix == "/inner/"


@pytest.mark.parametrize("name", ["", "x" * 257, "é" * 129, "\ud800"])
def test_an_id_that_the_gateway_would_refuse(name):
    with pytest.raises(InvalidTriggerError, match="id"):
        Trigger(NEWS, 1, id=name)


@pytest.mark.parametrize(
    "path", ["", "/", "//", "/trigger", "/trigger/", "//trigger/", "/trigger//", "//trigger//"]
)
def test_an_address_that_names_the_endpoint_is_understood(gateway, path):
    assert Publisher(gateway.internal_url + path, api_key="key").publish(NEWS, 1).position


def test_a_prefix_and_the_endpoint(trickster):
    with trickster() as gateway:
        for path in ("/inner/trigger/", "//inner//trigger", "/inner/"):
            publisher = Publisher(gateway.url + path)
            assert publisher._transport.address.prefix == "/inner/"
        assert Publisher(gateway.url + "/mytrigger/")._transport.address.prefix == "/mytrigger/"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("127.0.0.1:8002", "internal listener"),
        ("ftp://hidden@x", "begins with http://"),
        ("http://", "internal listener"),
        ("unix:", "path"),
        ("unix:/trigger/", "path"),
        ("ws://127.0.0.1:5000/ws/", "browsers connect"),
        ("amqp+tls://u:hidden@h/", "amqps://"),
        ("redis://:hidden@h", "begins with http://"),
        ("http://u:hidden@h:99999", "port"),
        ("http://u:hidden@h/?a", "'?'"),
        ("http://h/a b", "path"),
        ("http://a..b:8002", "host name"),
        (f"http://{'x' * 64}.example", "host name"),
    ],
)
def test_no_address(url, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        Publisher(url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://my_service:8002", "my_service"),
        ("http://[::1]:8002", "::1"),
        ("http://bücher.example", "xn--bcher-kva.example"),
        ("http://user:p%40ss@h:1", "h"),
    ],
)
def test_hosts(url, host):
    endpoint = Publisher(url)._transport.address.endpoint
    assert endpoint.host == host
    assert endpoint.authority.isascii()


def test_the_public_listener_is_not_the_internal_one(gateway):
    public = gateway.url.replace("ws://", "http://").replace("/ws/", "")
    with pytest.raises(PublishError, match=r"internal\.listen"):
        Publisher(public, attempts=1).publish(NEWS, 1)


def test_a_log_line_is_one_line(caplog):
    publisher = Publisher("http://127.0.0.1:1", attempts=1, on_error="log")
    publisher.publish({"a": "1\n2\x85\u20283"}, 1, id="7\nERROR admin signed in")
    (line,) = caplog.text.splitlines()
    assert line.isascii()


def test_secrets_are_in_no_message():
    with pytest.raises(ValueError, match="api_key") as caught:
        Publisher("http://127.0.0.1:1", api_key="hidden\n")
    assert "hidden" not in str(caught.value)
    with pytest.raises(UnavailableError) as failed:
        Publisher("http://user:hidden@127.0.0.1:1", attempts=1).publish(NEWS, 1)
    assert "hidden" not in str(failed.value)


def test_variables_say_where_to(gateway, monkeypatch):
    monkeypatch.setenv("HIGH_TEMPLAR_URL", gateway.internal_url)
    monkeypatch.setenv("HIGH_TEMPLAR_API_KEY", "key")
    assert Publisher().publish(NEWS, 1).position


def test_the_modules_publisher_takes_a_transport(monkeypatch):
    class Noted:
        name = "noted"
        sent: list = []  # noqa: RUF012

        def send(self, triggers, deadline):
            self.sent += [trigger.data for trigger in triggers]
            return [Receipt(trigger.id, len(self.sent)) for trigger in triggers]

        def close(self):
            pass

    monkeypatch.setattr(high_templar, "_default", None)
    high_templar.configure(transport=Noted())
    assert high_templar.publish(NEWS, 1).position == 1
    assert asyncio.run(high_templar.apublish(NEWS, 2)).position == 2
    assert Noted.sent == [1, 2]


@pytest.mark.parametrize("made", [high_templar.configure, AsyncPublisher])
def test_all_of_them_take_what_a_publisher_takes(made):
    assert signature(made).parameters.keys() == signature(Publisher).parameters.keys()


def test_threads_share_it(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe(NEWS)
        threads = [
            threading.Thread(target=lambda: [publisher.publish(NEWS, 1) for _ in range(25)])
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert publisher.counts == (300, 0, 0)
        assert [page.next().data for _ in range(300)] == [1] * 300


def test_a_forked_child_has_connections_of_its_own(trickster):
    with trickster() as gateway, Publisher(gateway.url) as publisher:
        publisher.publish(NEWS, "parent")
        # Another thread holds the locks at the moment of the fork.
        with publisher._lock, publisher._transport._lock:
            child = os.fork()
            if child == 0:
                try:
                    publisher.publish(NEWS, "child")
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        publisher.publish(NEWS, "parent")
        senders = [(number, body["data"]) for number, body, _ in gateway.requests]
        assert senders == [(1, "parent"), (2, "child"), (1, "parent")]


def test_async_publishing(gateway):
    async def main():
        async with AsyncPublisher(gateway.internal_url, api_key="key") as publisher:
            receipts = await asyncio.gather(*(publisher.publish(NEWS, n) for n in range(50)))
            assert len({receipt.position for receipt in receipts}) == 50
            with pytest.raises(InvalidTriggerError):
                await publisher.publish(NEWS, object())

    asyncio.run(main())


def test_async_does_not_hold_up_the_loop(trickster):
    async def main():
        with trickster("hang") as gateway:
            publisher = AsyncPublisher(gateway.url, attempts=1)
            call = asyncio.ensure_future(publisher.publish(NEWS, 1))
            while not gateway.requests:
                await asyncio.sleep(0.01)
            assert not call.done()
            gateway.over.set()
            with pytest.raises(UnconfirmedError):
                await call

    asyncio.run(main())


def test_the_blocking_call_warns_on_an_event_loop(gateway, monkeypatch):
    monkeypatch.setenv("HIGH_TEMPLAR_URL", gateway.internal_url)
    monkeypatch.setenv("HIGH_TEMPLAR_API_KEY", "key")
    monkeypatch.setattr(high_templar, "_default", None)

    async def main():
        with pytest.warns(RuntimeWarning, match="apublish"):
            high_templar.publish(NEWS, 1)
        assert await high_templar.apublish(NEWS, 1)

    asyncio.run(main())


@pytest.fixture
def tls_gateway(trickster, certificate):
    """The address of a gateway behind TLS."""
    gateway = trickster()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    gateway.server.socket = context.wrap_socket(gateway.server.socket, server_side=True)
    return f"https://localhost:{gateway.server.server_port}"


def test_a_ca_of_your_own(tls_gateway, certificate):
    with pytest.raises(UnavailableError, match=r"not accepted: self.signed.*SSL_CERT_FILE"):
        Publisher(tls_gateway, attempts=1).publish(NEWS, 1)
    context = ssl.create_default_context(cafile=certificate)
    with Publisher(tls_gateway, attempts=1, ssl_context=context) as publisher:
        assert publisher.publish(NEWS, 1).position


def test_tls_to_a_port_without(trickster):
    with trickster() as gateway:
        url = gateway.url.replace("http://", "https://")
        with pytest.raises(UnavailableError, match="does that port speak TLS"):
            Publisher(url, attempts=1).publish(NEWS, 1)
