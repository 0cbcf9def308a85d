"""A gateway that hangs, is away, or swallows everything: fail fast, and deliver nothing late."""

import asyncio
import itertools
import os
import signal
import socket
import threading
import time

import pytest

from high_templar import AsyncPublisher
from high_templar import CircuitOpenError
from high_templar import Publisher
from high_templar import PublishError
from high_templar import RefusedError
from high_templar import Trigger
from high_templar import UnauthorizedError
from high_templar import UnavailableError
from high_templar import UnconfirmedError
from high_templar import circuit
from high_templar.circuit import CircuitBreaker
from high_templar.gateway import Gateway
from high_templar.transport import Deadline
from high_templar.transport import Receipt

NEWS = {"target": "news"}


@pytest.fixture
def stopped(backend):
    """A gateway of its own, and functions that stop and continue it."""
    with Gateway(backend.url) as gateway:
        pid = gateway._process.pid

        def stop():
            os.kill(pid, signal.SIGSTOP)
            # Until it does, its threads may run on.
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)

        try:
            yield gateway, stop, lambda: os.kill(pid, signal.SIGCONT)
        finally:
            os.kill(pid, signal.SIGCONT)


def failures(publisher, count, start=0):
    found = []
    for number in range(start, start + count):
        with pytest.raises(PublishError) as caught:
            publisher.publish(NEWS, number)
        found.append(caught.value)
    return found


def until_published(publisher, data):
    """Publishes until the circuit breaker lets one through."""
    deadline = Deadline(30)
    while True:
        try:
            return publisher.publish(NEWS, data)
        except UnavailableError:
            assert deadline.left, "the circuit stays open"


class TestHang:
    @pytest.mark.parametrize("is_warm", [True, False])
    def test_fails_fast_and_nothing_is_delivered_late(self, stopped, is_warm):
        gateway, stop, resume = stopped
        with (
            gateway.connect() as page,
            Publisher(gateway.internal_url, timeout=20) as publisher,
        ):
            page.subscribe(NEWS)
            if is_warm:
                publisher.publish(NEWS, "before")
                assert page.next().data == "before"
            stop()
            publisher.timeout = 0.3
            found = failures(publisher, 20)
            # None of them was sent as a whole, so that it cannot be processed later.
            assert all(isinstance(error, UnavailableError) for error in found)
            asked = [error for error in found if not isinstance(error, CircuitOpenError)]
            # The first few, and perhaps a probe or two on a machine that is slow.
            assert circuit.FAILURES_MAX <= len(asked) < 10
            resume()
            publisher.timeout = 20
            until_published(publisher, "after")
            assert page.next().data == "after"
            assert page.nothing_heard()

    def test_coroutines(self, stopped):
        gateway, stop, resume = stopped

        async def main():
            async with AsyncPublisher(gateway.internal_url, timeout=0.3) as publisher:
                stop()
                calls = [publisher.publish(NEWS, number) for number in range(40)]
                found = await asyncio.gather(*calls, return_exceptions=True)
                assert all(isinstance(error, UnavailableError) for error in found)
                with pytest.raises(CircuitOpenError):
                    await publisher.publish(NEWS, "rejected without a thread")
                resume()
                publisher.publisher.timeout = 20
                await asyncio.get_running_loop().run_in_executor(
                    None, until_published, publisher.publisher, "after"
                )

        with gateway.connect() as page:
            page.subscribe(NEWS)
            asyncio.run(main())
            assert page.next().data == "after"
            assert page.nothing_heard()


def test_a_black_hole():
    """Connections are taken by the kernel, and nobody ever reads."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        publisher = Publisher(f"http://127.0.0.1:{hole.getsockname()[1]}", timeout=0.1)
        found = failures(publisher, 5)
    assert "does not react" in str(found[0])
    assert isinstance(found[-1], CircuitOpenError)
    assert "does not react" in str(found[-1])


def resolve_to(monkeypatch, *addresses):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)


def test_an_address_that_swallows_leaves_time_for_the_next(gateway, black_hole, monkeypatch):
    port = int(gateway.internal_url.rpartition(":")[2])
    resolve_to(monkeypatch, *[black_hole] * 3, ("127.0.0.1", port))
    url = f"http://localhost:{port}"
    assert Publisher(url, api_key="key", timeout=20, connect_timeout=4).publish(NEWS, 1)


@pytest.mark.parametrize(
    ("options", "most"),
    [
        # The timeout is for all of them and all attempts, not for each.
        ({"timeout": 1, "connect_timeout": 30}, 2.5),
        # Two attempts, and the pause between them.
        ({"timeout": 30, "connect_timeout": 0.5, "attempts": 2}, 2.5),
    ],
    ids=["timeout", "connect_timeout"],
)
def test_four_addresses_that_swallow_keep_the_deadline(black_hole, monkeypatch, options, most):
    resolve_to(monkeypatch, *[black_hole] * 4)
    publisher = Publisher("http://black-hole.example:8002", **options)
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match=r"cannot reach the gateway .* timed out"):
        publisher.publish(NEWS, 1)
    assert 0.9 < time.monotonic() - begun < most


def test_a_name_server_that_is_silent(monkeypatch):
    over, asked = threading.Event(), []
    real = socket.getaddrinfo

    def resolve(host, *arguments):
        if host != "gateway.example":
            return real(host, *arguments)
        if socket.AI_NUMERICHOST in arguments:
            raise socket.gaierror
        asked.append(host)
        over.wait(60)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    publisher = Publisher("http://gateway.example:8002", timeout=0.1, attempts=1)
    found = failures(publisher, 3)
    assert all("resolving the host name timed out" in str(error) for error in found)
    # However often it is asked for, one thread waits.
    assert asked == ["gateway.example"]
    over.set()


def test_a_name_that_does_not_exist():
    with pytest.raises(UnavailableError, match="cannot reach"):
        Publisher("http://does-not-exist.invalid:8002", timeout=20, attempts=1).publish(NEWS, 1)


def test_an_answer_that_drips():
    """Every byte comes in time, the whole answer does not."""
    over = threading.Event()

    def drip(server):
        sock, _ = server.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            sock.recv(65536)
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b" " * 10_000:
                if over.wait(0.02):
                    return
                try:
                    sock.sendall(bytes([byte]))
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=[server])
        thread.start()
        publisher = Publisher(
            f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.5, attempts=1
        )
        with pytest.raises(UnconfirmedError, match="timed out"):
            publisher.publish(NEWS, 1)
        over.set()
        thread.join()


numbers = itertools.count()


class Scripted:
    """A transport that does what a test wants: errors are raised, anything else is published."""

    def __init__(self, *script, name=None):
        self.script, self.calls = list(script), 0
        self.name = name or f"scripted {next(numbers)}"

    def send(self, triggers, deadline):
        self.calls += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        return [Receipt(trigger.id, 1) for trigger in triggers]

    def close(self):
        pass


class TestOutcome:
    def test_once_unconfirmed_always_unconfirmed(self):
        script = [UnconfirmedError("cut"), UnavailableError("refused"), UnavailableError("refused")]
        publisher = Publisher(transport=Scripted(*script))
        with pytest.raises(UnconfirmedError, match="refused; an earlier attempt may have been"):
            publisher.publish(NEWS, 1)

    def test_neither_is_the_other(self):
        assert not issubclass(UnconfirmedError, UnavailableError)
        assert not issubclass(UnavailableError, UnconfirmedError)

    def test_a_proxy_behind_which_it_may_have_been_taken(self, trickster):
        with trickster((502, {}, "<html>")) as gateway:
            publisher = Publisher(gateway.url, attempts=1)
            with pytest.raises(UnconfirmedError, match="502"):
                publisher.publish(NEWS, 1)

    def test_those_behind_an_unconfirmed_one_are_not_published(self):
        publisher = Publisher(transport=Scripted(UnconfirmedError("cut")), attempts=1)
        triggers = [Trigger(NEWS, number) for number in range(1_001)]
        publisher.on_error = "log"
        receipts = publisher.publish_all(triggers)
        assert isinstance(receipts[0].error, UnconfirmedError)
        assert isinstance(receipts[-1].error, UnavailableError)

    def test_no_time_left_means_not_sent(self):
        transport = Scripted()
        publisher = Publisher(transport=transport)
        with pytest.raises(UnavailableError, match="time for publishing is up"):
            publisher.publish_all([Trigger(NEWS, 1)], deadline=Deadline(0))
        assert transport.calls == 0


class TestCircuit:
    def test_refused_connections_open_it(self, caplog):
        transport = Scripted(*[UnavailableError("refused")] * 100)
        publisher = Publisher(transport=transport, on_error="log")
        assert not publisher.publish(NEWS, 1)
        assert transport.calls == 3
        assert isinstance(publisher.publish(NEWS, 2).error, CircuitOpenError)
        assert transport.calls == 3
        assert caplog.text.count("circuit breaker opened") == 1
        for _ in range(50):
            publisher.publish(NEWS, 3)
        # One line in a second, with the number of those that have none.
        assert caplog.text.count("circuit breaker is open") < 20

    def test_is_shared_by_the_publishers_of_an_address(self):
        failing = Scripted(*[UnavailableError("x")] * 3, name="shared")
        broken = Publisher(transport=failing, on_error="log")
        other = Publisher(transport=Scripted(name="shared"))
        broken.publish(NEWS, 1)
        with pytest.raises(CircuitOpenError):
            other.publish(NEWS, 1)

    def test_one_call_probes(self):
        now = [0.0]
        breaker = CircuitBreaker("x", lambda: now[0])
        for _ in range(circuit.FAILURES_MAX):
            assert breaker.admit() is False
            breaker.failed(UnavailableError("hangs"), 0.5)
        with pytest.raises(CircuitOpenError, match="hangs"):
            breaker.admit()
        # A probe may cost a tenth of the time.
        now[0] += 7
        assert not breaker.would_reject()
        assert breaker.admit() is True
        with pytest.raises(CircuitOpenError):
            breaker.admit()
        breaker.failed(UnavailableError("still"), 0.5)
        with pytest.raises(CircuitOpenError, match="still"):
            breaker.admit()
        now[0] += 7
        assert breaker.admit() is True
        breaker.succeeded()
        assert breaker.admit() is False

    def test_a_probe_that_vanished_is_written_off(self):
        now = [0.0]
        breaker = CircuitBreaker("x", lambda: now[0])
        for _ in range(circuit.FAILURES_MAX):
            breaker.failed(UnavailableError("x"), 0)
        now[0] += 1
        assert breaker.admit() is True
        now[0] += circuit.PROBE_SECONDS_MAX + 1
        assert breaker.admit() is True

    @pytest.mark.parametrize(
        "answer", [UnauthorizedError("key"), RefusedError("no", status=415)], ids=["401", "415"]
    )
    def test_whatever_the_gateway_answers_it_is_alive(self, answer):
        script = [UnavailableError("x"), UnavailableError("x"), answer] * 5
        transport = Scripted(*script)
        publisher = Publisher(transport=transport, attempts=1, on_error="log")
        for _ in script:
            publisher.publish(NEWS, 1)
        assert transport.calls == len(script)

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_busy_gateway_is_alive(self, trickster, status):
        busy = (status, {"Retry-After": "0"}, '{"error": "leaving"}')
        with trickster(*[busy] * 6) as gateway:
            publisher = Publisher(gateway.url, attempts=2, on_error="log")
            for _ in range(3):
                publisher.publish(NEWS, 1)
            assert publisher.publish(NEWS, 1)

    def test_a_forked_child_finds_out_for_itself(self):
        publisher = Publisher(transport=Scripted(*[UnavailableError("x")] * 3), on_error="log")
        publisher.publish(NEWS, 1)
        assert publisher._circuit.is_open
        with publisher._circuit._lock:
            child = os.fork()
            if child == 0:
                try:
                    os._exit(0 if publisher.publish(NEWS, 2) else 1)
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert publisher._circuit.is_open
