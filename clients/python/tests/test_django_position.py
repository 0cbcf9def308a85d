"""The position of a page: known before its data are read, and asked for by no request."""

import asyncio
import json
import threading
import time

import pytest
from asgiref.sync import iscoroutinefunction
from django.http import HttpResponse
from django.template import Context
from django.template import Engine
from django.test import RequestFactory
from django.utils.cache import patch_response_headers

from high_templar import Publisher
from high_templar import UnauthorizedError
from high_templar import UnavailableError
from high_templar.django import middleware
from high_templar.django import publish_now
from high_templar.django.middleware import HEADER
from high_templar.django.middleware import PositionMiddleware
from high_templar.django.position import Positions

ROOM = {"target": "order"}


def told(position, epoch="k3f9ab"):
    cursor = f"{epoch}-{position}-aB3x"
    return json.dumps({"position": position, "epoch": epoch, "cursor": cursor})


def eventually(question):
    until = time.monotonic() + 10
    while not (answer := question()):
        assert time.monotonic() < until, "it has not come"
        time.sleep(0.005)
    return answer


class Asked:
    """What the gateway answers, and how often it was asked."""

    def __init__(self, *answers):
        self.answers, self.count, self.is_open = list(answers), 0, threading.Event()
        self.is_open.set()

    def __call__(self):
        self.count += 1
        self.is_open.wait()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def positions(monkeypatch):
    """Those of the middleware, with nothing known."""
    fresh = Positions()
    monkeypatch.setattr("high_templar.django.middleware.positions", fresh)
    monkeypatch.setattr("high_templar.django.sender.positions", fresh)
    return fresh


@pytest.mark.parametrize(
    ("known", "cursor", "newest"),
    [
        (None, "k3f9ab-7-aB3x", "k3f9ab-7-aB3x"),
        ("k3f9ab-7-aB3x", "k3f9ab-10-zzzz", "k3f9ab-10-zzzz"),
        ("k3f9ab-10-aB3x", "k3f9ab-9-zzzz", "k3f9ab-10-aB3x"),
        ("k3f9ab-10-aB3x", "k3f9ab-10-a-3x", "k3f9ab-10-aB3x"),
        ("k3f9ab-10-aB3x", "m2xr7q-1-zzzz", "m2xr7q-1-zzzz"),
        ("k3f9ab-10-aB3x", None, "k3f9ab-10-aB3x"),
        ("k3f9ab-10-aB3x", "", "k3f9ab-10-aB3x"),
    ],
)
def test_the_newest_cursor_counts(known, cursor, newest):
    positions = Positions()
    positions.note(known)
    positions.note(cursor)
    assert positions.current(lambda: None) == newest


def test_the_gateway_is_asked_in_the_background_and_once_at_a_time(positions):
    ask = Asked("a-1-x")
    ask.is_open.clear()
    for _ in range(100):
        assert positions.current(ask) is None
    ask.is_open.set()
    assert eventually(lambda: positions.current(ask)) == "a-1-x"
    # Not again within the second.
    assert [positions.current(ask) for _ in range(100)] == ["a-1-x"] * 100
    assert ask.count == 1


def test_it_is_asked_again_after_a_second(positions, monkeypatch):
    monkeypatch.setattr("high_templar.django.position.REFRESH_SECONDS", 0.01)
    ask = Asked(*(f"a-{number}-x" for number in range(1, 1_000)))
    assert eventually(lambda: positions.current(ask) == "a-5-x")


@pytest.mark.parametrize("failure", [UnavailableError("away"), ValueError("wrong")])
def test_a_failure_is_logged_once_and_fails_nothing(positions, monkeypatch, caplog, failure):
    monkeypatch.setattr("high_templar.django.position.FAILED_SECONDS", 0.0)
    monkeypatch.setattr("high_templar.django.position.REFRESH_SECONDS", 0.0)
    positions.note("a-1-x")
    ask = Asked(failure, failure, failure, "a-2-x", failure)
    seen = set()
    assert eventually(lambda: seen.add(positions.current(ask)) or ask.count > 5)
    assert seen == {"a-1-x", "a-2-x"}
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert (caplog.records[0].exc_info is None or not caplog.records[0].exc_info) == isinstance(
        failure, UnavailableError
    )


def test_a_gateway_that_has_none_is_left_alone(positions):
    ask = Asked(None, "a-1-x")
    assert positions.current(ask) is None
    eventually(lambda: not positions._is_asking)
    assert positions.current(ask) is None
    assert ask.count == 1


def test_a_process_without_threads_goes_on(positions, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    positions.note("a-1-x")
    assert positions.current(Asked()) == "a-1-x"
    assert not positions._is_asking


def test_after_a_fork_the_child_asks_itself(positions):
    ask = Asked("a-1-x", "a-2-x")
    ask.is_open.clear()
    positions.current(ask)
    positions.after_fork()
    ask.is_open.set()
    assert eventually(lambda: positions.current(ask))
    assert ask.count == 2


def answer(view, is_async=False):
    request = RequestFactory().get("/")
    if not is_async:
        return PositionMiddleware(view)(request)

    async def later(request):
        return view(request)

    return asyncio.run(PositionMiddleware(later)(request))


@pytest.mark.parametrize("is_async", [False, True])
def test_the_position_is_that_of_before_the_view(positions, is_async):
    positions.note("a-1-x")

    def view(request):
        # What is published meanwhile may not be in the data.
        positions.note("a-2-x")
        return HttpResponse(request.high_templar_position)

    response = answer(view, is_async)
    assert response[HEADER] == "a-1-x"
    assert response.content == b"a-1-x"


def test_it_runs_as_what_is_below_it():
    async def later(request):
        return HttpResponse()

    assert iscoroutinefunction(PositionMiddleware(later))
    assert not iscoroutinefunction(PositionMiddleware(lambda request: HttpResponse()))


def test_without_a_position_there_is_no_header(positions, monkeypatch):
    monkeypatch.setattr(middleware, "_ask", lambda: None)
    assert not answer(lambda request: HttpResponse()).has_header(HEADER)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(60, None), (0, "a-1-x")], ids=["cached", "not cached"]
)
def test_what_may_be_older_has_none(positions, seconds, expected):
    positions.note("a-1-x")

    def view(request):
        response = HttpResponse()
        patch_response_headers(response, seconds)
        return response

    assert answer(view).get(HEADER) == expected


def test_a_view_may_know_better(positions):
    positions.note("a-2-x")
    response = answer(lambda request: HttpResponse(headers={HEADER: "a-1-x"}))
    assert response[HEADER] == "a-1-x"


def test_what_is_published_is_the_position_of_the_next_request(positions, settings, trickster):
    gateway = trickster((200, {}, told(7)), (200, {}, json.dumps({"position": 8})))
    settings.HIGH_TEMPLAR = {"URL": gateway.url, "ON_ERROR": "raise", "TIMEOUT": 10}
    receipt = publish_now(ROOM, 1)
    assert (receipt.position, receipt.cursor) == (7, "k3f9ab-7-aB3x")
    assert answer(lambda request: HttpResponse())[HEADER] == "k3f9ab-7-aB3x"
    # A gateway of an older version has none.
    assert publish_now(ROOM, 2).cursor is None
    assert answer(lambda request: HttpResponse())[HEADER] == "k3f9ab-7-aB3x"


def test_another_gateway_is_another_log(positions, settings):
    positions.note("a-1-x")
    settings.HIGH_TEMPLAR = {"URL": "http://127.0.0.1:9", "TIMEOUT": 1}
    publisher_of_before = middleware.publisher()
    settings.HIGH_TEMPLAR = {"URL": "http://127.0.0.1:10", "TIMEOUT": 1}
    assert middleware.publisher() is not publisher_of_before
    assert positions.current(lambda: None) is None


@pytest.mark.parametrize("position", ["k3f9ab-7-aB3x", None])
def test_the_template_tag(position):
    class Request:
        high_templar_position = position

    def render(**context):
        engine = Engine(libraries={"high_templar": "high_templar.django.templatetags.high_templar"})
        text = "{% load high_templar %}{% high_templar_position %}"
        return engine.from_string(text).render(Context(context))

    assert render(request=Request()) == (position or "")
    assert render(request=object()) == ""
    assert render() == ""


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ((200, {}, told(7)), "k3f9ab-7-aB3x"),
        ((404, {}, "{}"), None),
        ((405, {}, ""), None),
        ((200, {}, "[]"), UnavailableError),
        ((403, {}, '{"error": "lacks the right"}'), UnauthorizedError),
        ((503, {}, '{"error": "not yet"}'), UnavailableError),
    ],
)
def test_what_a_gateway_may_answer(trickster, response, expected):
    gateway = trickster(response)
    with Publisher(gateway.url) as publisher:
        if expected is None or isinstance(expected, str):
            assert publisher.position(timeout=5) == expected
        else:
            with pytest.raises(expected):
                publisher.position(timeout=5)


def test_rabbitmq_has_no_position():
    pytest.importorskip("pika")
    assert Publisher("amqp://127.0.0.1:1/").position(timeout=1) is None
