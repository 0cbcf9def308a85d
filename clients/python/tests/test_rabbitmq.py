"""Publishing over RabbitMQ: a real one, and a real gateway that listens to it."""

import asyncio
import os
import ssl
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tls

from high_templar import AsyncPublisher
from high_templar import Command
from high_templar import InvalidTriggerError
from high_templar import Publisher
from high_templar import Trigger
from high_templar import UnauthorizedError
from high_templar import UnavailableError
from high_templar import UnconfirmedError
from high_templar.gateway import Gateway
from high_templar.http import HttpTransport
from high_templar.transport import Deadline
from high_templar.websocket import ClosedError

NEWS = {"target": "news"}
SCRIPT = Path(__file__).parents[3] / "tests" / "support" / "rabbitmq"
FOLDER = os.environ.get("HT_PYTHON_RABBITMQ")

CLOSE_PIKA = """
[rabbit_networking:close_connection(P, <<"bye">>)
 || P <- rabbit_networking:connections(),
    [{client_properties, C}] <- [rabbit_reader:info(P, [client_properties])],
    {_, _, Name} <- [lists:keyfind(<<"product">>, 1, C)],
    Name =:= <<"Pika Python Client Library">>]
"""

pytestmark = pytest.mark.skipif(not FOLDER, reason="clients/python/check starts a RabbitMQ")


def rabbitmq(action, *arguments):
    done = subprocess.run(
        [SCRIPT, action, FOLDER, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def url():
    """A virtual host that no other test has."""
    return rabbitmq("vhost", f"test-{time.monotonic_ns()}")


@pytest.fixture
def gateway(backend, url):
    with Gateway(backend.url, {"HT_RABBITMQ__URL": url}) as gateway:
        wait_ready(gateway)
        yield gateway


@pytest.fixture
def publisher(url):
    with Publisher(url) as publisher:
        yield publisher


def wait_ready(gateway):
    transport, deadline = HttpTransport(gateway.internal_url), Deadline(30)
    while transport.get("ready", Deadline(5))[0] != 200:
        assert deadline.left, gateway.log
        time.sleep(0.02)
    transport.close()


def test_a_page_hears_it(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe(NEWS)
        receipt = publisher.publish(NEWS, {"text": "é"})
        assert receipt.position is None
        assert page.next().data == {"text": "é"}


def test_commands_travel_in_the_order_of_publications(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe(NEWS)
        receipts = publisher.publish_all(
            [
                Trigger(NEWS, "before"),
                Command.disconnect(everyone=True, come_back="later", reason="moved"),
                Trigger(NEWS, "after"),
            ]
        )
        assert all(receipts)
        assert [each.matched for each in receipts] == [None, None, None]
        assert page.next().data == "before"
        with pytest.raises(ClosedError) as ended:
            page.next()
        assert (ended.value.code, ended.value.reason) == (4103, "moved")
    with gateway.connect() as page:
        page.subscribe(NEWS)
        page.subscribe({"target": "other"})
        publisher.unsubscribe(NEWS, everyone=True)
        publisher.publish(NEWS, "unheard")
        publisher.publish({"target": "other"}, "heard")
        assert page.next().data == "heard"
    with pytest.raises(InvalidTriggerError, match="dry_run"):
        publisher.disconnect(everyone=True, dry_run=True)
    with pytest.raises(InvalidTriggerError, match="confirm needs the gateway's internal listener"):
        publisher.disconnect(everyone=True, confirm="everywhere")


def test_the_connection_is_kept_and_the_order_too(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe(NEWS)
        publisher.publish(NEWS, 0)
        link = publisher._transport._link
        publisher.publish_all(Trigger(NEWS, number) for number in range(1, 50))
        assert publisher._transport._link is link
        assert [page.next().data for _ in range(50)] == list(range(50))


def test_nobody_listens(url):
    with Publisher(url, attempts=1) as publisher:
        with pytest.raises(UnavailableError, match="has a gateway ever started"):
            publisher.publish(NEWS, 1)


def test_no_gateway_is_left(backend, url):
    with Gateway(backend.url, {"HT_RABBITMQ__URL": url}) as gateway:
        wait_ready(gateway)
    with Publisher(url, attempts=1) as publisher:
        with pytest.raises(UnavailableError, match="no gateway listens"):
            publisher.publish(NEWS, 1)


def test_a_wrong_password(url):
    wrong = url.replace("rabbitmq:rabbitmq@", "rabbitmq:wrong@")
    with Publisher(wrong, attempts=1) as publisher, pytest.raises(UnauthorizedError):
        publisher.publish(NEWS, 1)


def test_no_broker():
    with Publisher("amqp://127.0.0.1:1/", attempts=1) as publisher:
        with pytest.raises(UnavailableError, match="cannot reach RabbitMQ") as caught:
            publisher.publish(NEWS, 1)
    assert not isinstance(caught.value, UnconfirmedError)


def test_a_ca_of_your_own(gateway, url, certificate, monkeypatch):
    parts = urlsplit(url)
    with tls.Proxy(certificate, parts.port) as proxy, gateway.connect() as page:
        page.subscribe(NEWS)
        address = f"amqps://{parts.username}:{parts.password}@{proxy.address}{parts.path}"
        with Publisher(address, attempts=1) as publisher:
            with pytest.raises(UnavailableError, match=r"not accepted: self.signed.*SSL_CERT_FILE"):
                publisher.publish(NEWS, 0)
        context = ssl.create_default_context(cafile=certificate)
        with Publisher(address, timeout=20, ssl_context=context) as publisher:
            publisher.publish(NEWS, 1)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Publisher(address, timeout=20) as publisher:
            publisher.publish(NEWS, 2)
        assert [page.next().data for _ in range(2)] == [1, 2]


def test_a_connection_that_the_broker_closed_is_no_failure(gateway, url):
    with gateway.connect() as page, Publisher(url, attempts=1) as publisher:
        page.subscribe(NEWS)
        publisher.publish(NEWS, 1)
        assert rabbitmq("eval", CLOSE_PIKA) == "[ok]"
        publisher.publish(NEWS, 2)
        assert [page.next().data, page.next().data] == [1, 2]
        assert publisher.counts == (2, 0, 0)


def test_threads_take_turns(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe(NEWS)
        threads = [
            threading.Thread(target=lambda: [publisher.publish(NEWS, 1) for _ in range(10)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert publisher.counts == (80, 0, 0)
        assert [page.next().data for _ in range(80)] == [1] * 80


def test_a_forked_child_has_a_connection_of_its_own(gateway, publisher):
    with gateway.connect() as page:
        page.subscribe(NEWS)
        publisher.publish(NEWS, "parent")
        child = os.fork()
        if child == 0:
            try:
                publisher.publish(NEWS, "child")
                publisher.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        publisher.publish(NEWS, "parent again")
        assert [page.next().data for _ in range(3)] == ["parent", "child", "parent again"]


def test_async_publishing(gateway, url):
    async def main():
        async with AsyncPublisher(url) as publisher:
            await asyncio.gather(*(publisher.publish(NEWS, number) for number in range(20)))

    with gateway.connect() as page:
        page.subscribe(NEWS)
        asyncio.run(main())
        assert sorted(page.next().data for _ in range(20)) == list(range(20))


def test_a_broker_that_hangs(gateway, url, monkeypatch):
    # How long a broker that answers may take to close a connection.
    monkeypatch.setattr("high_templar.rabbitmq._CLOSE_SECONDS", 30)
    with gateway.connect() as page, Publisher(url, timeout=20) as publisher:
        page.subscribe(NEWS)
        publisher.publish(NEWS, 1)
        publisher.timeout = 1
        rabbitmq("pause")
        try:
            begun = time.monotonic()
            with pytest.raises(UnconfirmedError, match="the time is up"):
                publisher.publish(NEWS, 2, id="two")
            assert time.monotonic() - begun < 10
            with Publisher(url, timeout=1) as other:
                with pytest.raises(UnavailableError, match="cannot reach RabbitMQ"):
                    other.publish(NEWS, "never")
        finally:
            rabbitmq("resume")
        # Whether it was taken is not known: under the same id it is heard once.
        publisher.timeout = 20
        publisher.publish(NEWS, 2, id="two")
        publisher.publish(NEWS, 3)
        assert [page.next().data for _ in range(3)] == [1, 2, 3]


def test_a_broker_that_restarts(backend, url):
    """Last: the broker is everybody's."""
    with Gateway(backend.url, {"HT_RABBITMQ__URL": url}) as gateway:
        wait_ready(gateway)
        with gateway.connect() as page, Publisher(url, timeout=60, attempts=60) as publisher:
            page.subscribe(NEWS)
            publisher.publish(NEWS, "before")
            rabbitmq("kill")
            with Publisher(url, attempts=1) as other, pytest.raises(UnavailableError):
                other.publish(NEWS, "lost")
            rabbitmq("again")
            assert page.next().data == "before"
            # It may have missed something: it is told so, and a page reconnects.
            with pytest.raises(ClosedError) as closed:
                page.next(30)
            assert closed.value.code == 1012
            with gateway.connect() as page_again:
                page_again.subscribe(NEWS)
                publisher.publish(NEWS, "after")
                assert page_again.next(30).data == "after"
