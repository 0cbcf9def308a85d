"""Commands: what is sent, what is not, and what the real gateway does."""

import asyncio
import contextlib
import http.server
import json
import logging
from datetime import timedelta
from uuid import UUID

import pytest
from conftest import serve

import high_templar
from high_templar import AsyncPublisher
from high_templar import Command
from high_templar import InvalidTriggerError
from high_templar import Publisher
from high_templar import Receipt
from high_templar import RefusedError
from high_templar import Trigger
from high_templar.gateway import Gateway
from high_templar.publisher import CONFIRM_SECONDS
from high_templar.testing import capture
from high_templar.websocket import ClosedError

NEWS = {"target": "news"}
ID = UUID("67e55044-10b1-426f-9247-bb680e5fe0c8")


def sent(make, *arguments, **options):
    """A command as it is sent, without its id."""
    said = json.loads(make(*arguments, **options).text())
    assert said.pop("id")
    return said


@pytest.mark.parametrize(
    ("selector", "members"),
    [
        ({"user": 7}, {"user": "7"}),
        ({"user": "7"}, {"user": "7"}),
        ({"user": ID}, {"user": str(ID)}),
        ({"session": "s-1", "label": "a"}, {"session": "s-1", "label": ["a"]}),
        ({"connection": ID}, {"connection": str(ID)}),
        ({"label": ("a", "b")}, {"label": ["a", "b"]}),
        ({"room": {"id": 3, "target": "*"}}, {"room": {"id": 3, "target": "*"}}),
        ({"everyone": True}, {"everyone": True}),
    ],
)
def test_whom_a_command_is_for(selector, members):
    for command, rest in [
        (sent(Command.disconnect, **selector), {"command": "disconnect", "come_back": "sign-in"}),
        (sent(Command.invalidate, **selector), {"command": "invalidate"}),
        (sent(Command.unsubscribe, NEWS, **selector), {"command": "unsubscribe", "from": [NEWS]}),
    ]:
        assert command == {**rest, **members}


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({}, "no connection is selected"),
        ({"user": None}, "user is None, which is nobody"),
        ({"user": None, "label": "a"}, "user is None, which is nobody"),
        ({"user": True}, "user is a text"),
        ({"user": 1.5}, "user is a text"),
        ({"user": ""}, "user is a text"),
        ({"session": 7}, "session is a text"),
        ({"label": []}, "1 to 1000 texts"),
        ({"label": ["a", None]}, "label is a text"),
        ({"label": [""]}, "label is a text"),
        ({"label": {"a": 1}.get}, "label are texts"),
        ({"label": ["a"] * 1001}, "1 to 1000 texts"),
        ({"room": "news"}, "a room is a JSON object"),
        ({"everyone": False}, "everyone is True"),
        ({"everyone": 1}, "everyone is True"),
        ({"everyone": True, "user": 7}, "leave the others out"),
    ],
)
def test_a_command_for_nobody_in_particular_is_not_sent(trickster, selector, said):
    with trickster() as gateway, Publisher(gateway.url, on_error="log") as publisher:
        for call in (
            lambda: publisher.disconnect(**selector),
            lambda: publisher.invalidate(**selector),
            lambda: publisher.unsubscribe(NEWS, **selector),
        ):
            with pytest.raises(InvalidTriggerError, match=said):
                call()
        assert not gateway.requests


def test_a_selector_that_is_misspelt_is_a_mistake_of_the_call():
    with pytest.raises(TypeError, match="unexpected keyword argument 'sesion': it knows user"):
        Command.disconnect(user=7, sesion="s")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Command.disconnect(user=7, come_back="never again"), "come_back is one of"),
        (lambda: Command.disconnect(user=7, reason="Signed out"), "reason is a word"),
        (lambda: Command.disconnect(user=7, reason=""), "reason is a word"),
        (lambda: Command.disconnect(user=7, reason="a" * 33), "reason is a word"),
        (lambda: Command.invalidate(user=7, within=3601), "within is at most an hour"),
        (lambda: Command.invalidate(user=7, within=-1), "within is a number of seconds"),
        (lambda: Command.invalidate(user=7, within=True), "within is a number of seconds"),
        (lambda: Command.invalidate(user=7, within=float("nan")), "within is a number of seconds"),
        (lambda: Command.invalidate(user=7, within="60s"), "within is a number of seconds"),
        (lambda: Command.permit([], user=7, expires_in=0), "expires_in is longer than nothing"),
        (lambda: Command.permit([], user=7, expires_in="1m"), "expires_in is a number of seconds"),
        (lambda: Command.permit([], user=7, expires_in=float("inf")), "expires_in is a number"),
        (lambda: Command.unsubscribe([], user=7), "from_ is a room"),
        (lambda: Command.unsubscribe("news", user=7), "a room is a JSON object"),
        (lambda: Command.permit([NEWS], label="a"), "not for a label"),
        (lambda: Command.permit([NEWS], user=7, room=NEWS), "not for a room"),
        (lambda: Command.permit([NEWS], everyone=True), "not for a everyone"),
        (lambda: Command.permit([NEWS], user=7, labels="abc"), "labels are texts"),
        (lambda: Command.permit([float("nan")], user=7), "a room is a JSON object"),
        (lambda: Command.disconnect(user="\ud800"), "cannot be written as JSON"),
        (lambda: Command.disconnect(user=7, id="x" * 257), "1 to 256 bytes"),
        (lambda: Command.disconnect(user=7, confirm="here"), 'confirm is "everywhere", not'),
        (lambda: Command.disconnect(user=7, confirm=True), 'confirm is "everywhere", not'),
        (
            lambda: Command.invalidate(user=7, confirm="everywhere", dry_run=True),
            "dry_run counts at one node",
        ),
    ],
)
def test_mistakes_of_a_command(make, said):
    with pytest.raises(InvalidTriggerError, match=said):
        make()


def test_all_members():
    assert sent(Command.disconnect, user=7, come_back="soon", reason="moved", dry_run=True) == {
        "command": "disconnect",
        "user": "7",
        "come_back": "soon",
        "reason": "moved",
        "dry_run": True,
    }
    permit = sent(Command.permit, [NEWS], user=7, labels=["a"], expires_in=900)
    assert permit == {
        "command": "permit",
        "user": "7",
        "allowed_rooms": [NEWS],
        "labels": ["a"],
        "expires_in": 900,
    }
    invalidate = sent(Command.invalidate, user=7, within=0.0205, dry_run=True)
    assert invalidate == {"command": "invalidate", "user": "7", "within": 21, "dry_run": True}
    assert sent(Command.permit, [], session="s")["allowed_rooms"] == []
    for command in (
        sent(Command.disconnect, user=7, confirm="everywhere"),
        sent(Command.invalidate, user=7, confirm="everywhere"),
        sent(Command.unsubscribe, NEWS, user=7, confirm="everywhere"),
        sent(Command.permit, [], user=7, confirm="everywhere"),
    ):
        assert command["confirm"] == "everywhere"
    assert json.loads(Command.disconnect(user=7, id="once").text())["id"] == "once"


def test_spans_are_seconds_or_a_timedelta():
    for span, milliseconds in [(60, 60_000), (1.5, 1500), (timedelta(minutes=1), 60_000), (0, 0)]:
        assert sent(Command.invalidate, user=7, within=span)["within"] == milliseconds
    for span, seconds in [(900, 900), (0.5, 0.5), (timedelta(minutes=15), 900)]:
        text = Command.permit([], user=7, expires_in=span).text()
        assert f'"expires_in":{seconds},' in text


def test_a_broker_carries_it_as_a_trigger_to_nobody():
    command = Command.unsubscribe(NEWS, user=7, id="a")
    assert json.loads(command.message()) == {
        **json.loads(command.text()),
        "rooms": [],
        "data": None,
    }
    trigger = Trigger(NEWS, 1)
    assert trigger.message() == trigger.text()


def test_a_log_line_has_it_whole_in_ascii():
    command = Command.disconnect(user="é\n", id="a")
    line = "<Command 'a', command: 'disconnect', user: '\\xe9\\n', come_back: 'sign-in'>"
    assert repr(command) == line
    assert len(repr(Command.unsubscribe([{"n": n} for n in range(100)], user=7))) < 400


def test_the_order_of_a_call_is_that_of_the_request(trickster):
    answers = '[{"position":1},{"position":2,"epoch":"abc","matched":3},{"position":3}]'
    with trickster((200, {}, answers)) as gateway, Publisher(gateway.url) as publisher:
        commands = [Trigger(NEWS, 1), Command.disconnect(user=7), Trigger(NEWS, 2)]
        receipts = publisher.publish_all(commands)
        assert [each.matched for each in receipts] == [None, 3, None]
        assert [each.position for each in receipts] == [1, 2, 3]
        ((_, body, _),) = gateway.requests
        assert [each.get("command", each.get("data")) for each in body] == [1, "disconnect", 2]


def test_a_command_that_is_not_carried_out_yet_has_its_place(trickster):
    answer = (202, {}, '{"position": 5, "epoch": "abc"}')
    with trickster(answer) as gateway, Publisher(gateway.url) as publisher:
        receipt = publisher.disconnect(user=7)
        assert receipt
        assert (receipt.position, receipt.matched) == (5, None)
        assert len(gateway.requests) == 1


def test_the_receipt_names_the_nodes_that_have_confirmed_and_those_that_have_not(trickster):
    confirmed = {
        "position": 5,
        "epoch": "abc",
        "matched": 3,
        "nodes": {"a": 3, "b": 0},
        "done": True,
    }
    missing = {**confirmed, "nodes": {"a": 3}, "done": False, "missing": ["b"]}
    answers = [(200, {}, json.dumps(confirmed)), (202, {}, json.dumps(missing))]
    with trickster(*answers) as gateway, Publisher(gateway.url) as publisher:
        receipt = publisher.invalidate(user=7, confirm="everywhere")
        assert (receipt.confirmed, receipt.nodes, receipt.missing) == (True, {"a": 3, "b": 0}, ())
        receipt = publisher.invalidate(user=7, confirm="everywhere")
        assert receipt, "the gateway has it"
        assert (receipt.confirmed, receipt.nodes, receipt.missing) == (False, {"a": 3}, ("b",))
        assert [body["confirm"] for _, body, _ in gateway.requests] == ["everywhere"] * 2


def test_a_call_that_every_node_is_to_confirm_may_take_longer():
    seen = []

    class Recorder:
        name = "recorder"

        def send(self, triggers, deadline):
            seen.append(deadline.left)
            return [Receipt(each.id) for each in triggers]

        def close(self):
            pass

    publisher = Publisher(timeout=1, transport=Recorder())
    publisher.invalidate(user=7)
    publisher.invalidate(user=7, confirm="everywhere")
    assert seen[0] <= 1
    assert CONFIRM_SECONDS < seen[1] <= 1 + CONFIRM_SECONDS


SENTENCE = "command 1: labels: too many"


@pytest.mark.parametrize("named", [True, False])
def test_what_follows_a_rejected_command_is_not_sent(trickster, named):
    """It may be what the command was to keep from somebody."""
    where = {"trigger": 1, "member": "labels"} if named else {}
    refused = (400, {}, json.dumps({"error": SENTENCE, **where}))
    alone = (400, {}, json.dumps({"error": SENTENCE, **({"trigger": 0} if named else {})}))
    first = (200, {}, '{"position":1}')
    answers = [refused, first, alone] if named else [refused, first, alone, alone]
    with trickster(*answers) as gateway, Publisher(gateway.url) as publisher:
        batch = [Trigger(NEWS, "before"), Command.permit([], user=7), Trigger(NEWS, "after")]
        with pytest.raises(RefusedError, match="labels: too many") as caught:
            publisher.publish_all(batch)
        assert caught.value.status == 400
        assert caught.value.ids == (batch[1].id, batch[2].id)
        assert caught.value.refused is batch[1]
        bodies = [body if isinstance(body, list) else [body] for _, body, _ in gateway.requests]
        alone_with_after = [body for body in bodies if body[0].get("data") == "after"]
        assert not alone_with_after
        assert publisher.counts.published == 1


def test_a_rejected_trigger_does_not_keep_a_command_from_being_sent(trickster):
    refused = (400, {}, json.dumps({"error": "trigger 0: data", "trigger": 0}))
    with trickster(refused, None) as gateway, Publisher(gateway.url, on_error="log") as publisher:
        receipts = publisher.publish_all([Trigger(NEWS, 1), Command.disconnect(user=7)])
        assert [bool(each) for each in receipts] == [False, True]
        assert gateway.requests[1][1]["command"] == "disconnect"


def test_a_gateway_before_commands_rejects_it(trickster, caplog):
    refused = (400, {}, '{"error": "rooms not specified"}')
    with trickster(refused) as gateway, Publisher(gateway.url, on_error="log") as publisher:
        with caplog.at_level(logging.ERROR, "high_templar"):
            assert not publisher.disconnect(user=7)
        assert "rooms" not in gateway.requests[0][1]
    assert "not published: rooms not specified (400); <Command" in caplog.text


def test_a_broker_cannot_count():
    pytest.importorskip("pika")
    with Publisher("amqp://127.0.0.1:1/") as publisher:
        with pytest.raises(InvalidTriggerError, match="dry_run needs the gateway's internal"):
            publisher.disconnect(user=7, dry_run=True)


def test_tests_see_commands_apart_from_publications():
    with capture() as published, Publisher("http://127.0.0.1:1") as publisher:
        publisher.disconnect(user=7)
        publisher.publish(NEWS, 1)
        asyncio.run(AsyncPublisher("http://127.0.0.1:1").permit([NEWS], session="s"))
        assert [each.data for each in published.sent] == [1]
        assert published.commands == [
            {"command": "disconnect", "user": "7", "come_back": "sign-in"},
            {"command": "permit", "session": "s", "allowed_rooms": [NEWS]},
        ]
        published.clear()
        published.assert_nothing_published()
        assert published.commands == []


def test_the_functions_of_the_module(trickster):
    async def from_coroutines():
        await high_templar.adisconnect(user=1)
        await high_templar.aunsubscribe(NEWS, user=2)
        await high_templar.apermit([NEWS], user=3, labels=["v"], expires_in=60)
        await high_templar.ainvalidate(user=3, within=1)
        with pytest.warns(RuntimeWarning, match=r"await adisconnect"):
            high_templar.disconnect(user=4)

    with trickster() as gateway:
        high_templar.configure(gateway.url)
        try:
            assert high_templar.disconnect(user=1, reason="moved").position == 1
            high_templar.unsubscribe([NEWS], user=2)
            high_templar.permit([NEWS], user=3, labels=["v"], expires_in=60)
            high_templar.invalidate(user=3, within=1)
            asyncio.run(from_coroutines())
        finally:
            high_templar.configure()
        bodies = [{k: v for k, v in body.items() if k != "id"} for _, body, _ in gateway.requests]
    assert bodies[0] == {
        "command": "disconnect",
        "user": "1",
        "come_back": "sign-in",
        "reason": "moved",
    }
    assert [body["command"] for body in bodies[4:]] == [
        "disconnect",
        "unsubscribe",
        "permit",
        "invalidate",
        "disconnect",
    ]
    assert bodies[1:4] == bodies[5:8]
    assert bodies[3] == {"command": "invalidate", "user": "3", "within": 1000}


BOARD = {"target": "board"}


class Users:
    """A backend: the token names the user and the sign-in, who may enter every room at first."""

    def __enter__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.headers.get("Authorization", "Token nobody").removeprefix("Token ")
                answer = {
                    "allowed_rooms": [{"target": "*"}],
                    "user": {"id": name.partition("-")[0]},
                    "session": f"s-{name}",
                    "labels": ["all"],
                }
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        serve(self.server)
        return f"http://127.0.0.1:{self.server.server_port}/"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def node():
    """A gateway whose users have sign-ins of their own."""
    with Users() as url, Gateway(url) as gateway:
        yield gateway


@pytest.fixture
def connect(node):
    """Connects as a user, subscribed to news and board."""
    with contextlib.ExitStack() as stack:

        def connect(token):
            page = stack.enter_context(node.connect(token=token))
            page.subscribe(NEWS, "n")
            page.subscribe(BOARD, "b")
            return page

        yield connect


@pytest.fixture
def publisher(node):
    with Publisher(node.internal_url) as publisher:
        yield publisher


def test_disconnect_closes_whom_it_means(connect, publisher):
    pages = [connect("1-a"), connect("1-a"), connect("1-b")]
    other = connect("2-a")
    for selector, count in [
        ({"user": 1}, 3),
        ({"user": "1", "session": "s-1-b"}, 1),
        ({"room": {"target": "any"}}, 4),
        ({"user": 99}, 0),
    ]:
        assert publisher.disconnect(dry_run=True, **selector).matched == count
    receipt = publisher.disconnect(
        session="s-1-a", come_back="soon", reason="moved", confirm="everywhere"
    )
    assert (receipt.matched, receipt.confirmed, receipt.missing) == (2, True, ())
    assert list(receipt.nodes.values()) == [2]
    assert publisher.disconnect(user=1).matched == 1
    publisher.publish(NEWS, 1)
    for page, code in zip(pages, (4003, 4003, 4303)):
        assert page.close_code() == code
    assert other.next().data == 1
    assert publisher.disconnect(everyone=True, come_back="never").matched == 1
    assert other.close_code() == 4203


def test_permit_and_unsubscribe_end_what_is_published_after_them(connect, publisher):
    page, other = connect("3"), connect("4")
    receipts = publisher.publish_all(
        [
            Trigger(BOARD, "before"),
            Command.permit([NEWS], user=3),
            Command.unsubscribe({"target": "*"}, user=4),
            Trigger(BOARD, "after"),
            Trigger(NEWS, "news"),
        ]
    )
    assert [each.matched for each in receipts] == [None, 1, 1, None, None]
    positions = [each.position for each in receipts]
    assert positions == sorted(set(positions))
    assert [page.next().data, page.next().data] == ["before", "news"]
    assert other.next().data == "before"
    with pytest.raises(PermissionError, match="room-not-found"):
        page.subscribe(BOARD)
    other.subscribe(BOARD)
    publisher.publish(BOARD, "again")
    assert other.next().data == "again"
    assert page.nothing_heard()


def test_the_same_id_twice_is_one_command(connect, publisher):
    page = connect("5")
    assert publisher.permit([NEWS], user=5, id="once").matched == 1
    assert publisher.permit([BOARD, NEWS], user=5).matched == 1
    again = publisher.permit([NEWS], user=5, id="once")
    assert again.duplicate
    assert again.matched is None
    page.subscribe(BOARD)


def test_the_sentence_of_the_gateway(publisher):
    with pytest.raises(RefusedError, match="must be the id of a connection") as caught:
        publisher.disconnect(connection="none")
    assert (caught.value.status, caught.value.member) == (400, "connection")


def test_from_coroutines(node, connect):
    async def disconnect():
        async with AsyncPublisher(node.internal_url) as publisher:
            await publisher.unsubscribe(BOARD, session="s-6")
            await publisher.publish(BOARD, 1)
            return await publisher.disconnect(session="s-6", come_back="later")

    page = connect("6")
    assert asyncio.run(disconnect()).matched == 1
    with pytest.raises(ClosedError, match="4103 ended"):
        page.next()
