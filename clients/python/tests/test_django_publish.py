"""Publishing from Django: at commit, once, or not at all."""

import asyncio
import contextlib
import random
import warnings
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connections
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.test import TestCase
from shop.models import Order
from shop.rooms import OrderRoom

from high_templar import InvalidTriggerError
from high_templar import PublishError
from high_templar import Receipt
from high_templar import UnavailableError
from high_templar.django import Room
from high_templar.django import UncommittedDataWarning
from high_templar.django import apublish
from high_templar.django import publish
from high_templar.django import publish_now
from high_templar.django.sender import publisher
from high_templar.django.testing import PublishedMixin
from high_templar.testing import capture

NEWS = {"target": "news"}
DATABASES = ["default", "archive"]


class Wire:
    """What leaves, as requests: each a list of (rooms, data)."""

    def __init__(self, monkeypatch):
        self.requests = []
        monkeypatch.setattr(publisher(), "publish_all", self.take)

    def take(self, triggers, **_):
        self.requests.append([(trigger.rooms, trigger.data) for trigger in triggers])
        return [Receipt(trigger.id) for trigger in triggers]


@pytest.fixture
def wire(monkeypatch):
    return Wire(monkeypatch)


def published(*data, room=NEWS):
    return [([room], each) for each in data]


@pytest.mark.django_db(transaction=True)
class TestTransactions:
    def test_without_a_transaction_at_once(self, wire):
        publish(NEWS, 1)
        publish(NEWS, 2)
        assert wire.requests == [published(1), published(2)]

    def test_waits_for_the_commit_and_sends_one_request(self, wire):
        with transaction.atomic():
            publish(NEWS, 1)
            with transaction.atomic():
                publish(NEWS, 2)
            publish(NEWS, 3)
            assert wire.requests == []
        assert wire.requests == [published(1, 2, 3)]

    def test_a_rollback_sends_nothing_and_leaves_nothing(self, wire):
        with transaction.atomic():
            publish(NEWS, 1)
            transaction.set_rollback(True)
        assert wire.requests == []
        with transaction.atomic():
            publish(NEWS, 2)
        assert wire.requests == [published(2)]

    @pytest.mark.parametrize("later", [True, False])
    @pytest.mark.parametrize("earlier", [True, False])
    def test_a_savepoint_takes_its_own_along(self, wire, earlier, later):
        with transaction.atomic():
            if earlier:
                publish(NEWS, "earlier")
            with transaction.atomic():
                publish(NEWS, "lost")
                with transaction.atomic():
                    publish(NEWS, "lost too")
                transaction.set_rollback(True)
            if later:
                publish(NEWS, "later")
        kept = [*(["earlier"] if earlier else []), *(["later"] if later else [])]
        assert wire.requests == ([published(*kept)] if kept else [])

    def test_a_savepoint_within_one_that_is_rolled_back(self, wire):
        with transaction.atomic():
            with transaction.atomic():
                publish(NEWS, "kept")
                with transaction.atomic():
                    publish(NEWS, "lost")
                    transaction.set_rollback(True)
            assert wire.requests == []
        assert wire.requests == [published("kept")]

    def test_the_same_is_said_once_and_last(self, wire):
        with transaction.atomic():
            for data in ["a", "b", "a"]:
                publish(NEWS, data)
            publish([{"y": 1}, NEWS], "c")
            publish([NEWS, {"y": 1}], "c")
        assert wire.requests == [[([NEWS], "b"), ([NEWS], "a"), ([NEWS, {"y": 1}], "c")]]

    def test_neighbours_with_the_same_data_are_one(self, wire):
        with transaction.atomic():
            publish({"a": 1}, "x")
            publish([{"b": 1}, {"a": 1}], "x")
            publish({"c": 1}, "y")
            publish({"d": 1}, "x")
        assert wire.requests == [
            [([{"a": 1}, {"b": 1}], "x"), ([{"c": 1}], "y"), ([{"d": 1}], "x")]
        ]

    def test_what_has_an_id_stays_as_it_is(self, wire):
        with transaction.atomic():
            publish({"a": 1}, "x", id="1")
            publish({"a": 1}, "x", id="2")
            publish({"b": 1}, "x")
        assert wire.requests == [[([{"a": 1}], "x"), ([{"a": 1}], "x"), ([{"b": 1}], "x")]]

    def test_data_are_those_of_the_call(self, wire):
        data = {"state": "new"}
        with transaction.atomic():
            publish(NEWS, data)
            data["state"] = "changed"
        assert wire.requests == [published({"state": "new"})]

    def test_what_django_knows_of_json(self, wire):
        publish(NEWS, {"price": Decimal("9.50"), "id": UUID(int=1)})
        price = {"price": "9.50", "id": "00000000-0000-0000-0000-000000000001"}
        assert wire.requests == [published(price)]

    def test_what_is_no_json_is_raised_where_it_is_said(self, wire):
        with transaction.atomic(), pytest.raises(InvalidTriggerError):
            publish(NEWS, float("nan"))
        assert wire.requests == []

    def test_models_publish_when_saved(self, wire):
        with transaction.atomic():
            order = Order.objects.create(customer=7)
            order.save()
        room = OrderRoom(customer=7)
        assert wire.requests == [published({"id": order.pk, "note": ""}, room=room)]

    def test_hooks_of_others_see_it_in_their_order(self, wire):
        seen = []
        with transaction.atomic():
            transaction.on_commit(lambda: seen.append(len(wire.requests)))
            publish(NEWS, 1)
            transaction.on_commit(lambda: seen.append(len(wire.requests)))
        assert seen == [0, 1]

    @pytest.mark.parametrize("within", [contextlib.nullcontext, transaction.atomic])
    def test_hooks_of_others_that_publish(self, wire, within):
        def hook():
            with within():
                publish(NEWS, "hook")

        with transaction.atomic():
            publish(NEWS, 1)
            transaction.on_commit(hook)
            publish(NEWS, 2)
        # Its own transaction is newer than all of the one that it is a hook of.
        assert wire.requests == [published(1, 2, "hook")]

    def test_a_hook_registered_before_has_run_when_it_is_sent(self, wire):
        """Such as one that clears a cache from which pages fetch."""
        seen = []
        with transaction.atomic():
            transaction.on_commit(lambda: seen.append(len(wire.requests)))
            publish(NEWS, 1)
        assert seen == [0]

    @pytest.mark.parametrize("robust", [True, False])
    @pytest.mark.parametrize("at", range(4))
    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_a_hook_that_fails_loses_nothing(self, wire, at, error, robust):
        if robust and error is KeyboardInterrupt:
            pytest.skip("robust is for exceptions")

        def fail():
            raise error

        def sell():
            with transaction.atomic():
                for number in range(3):
                    if at == number:
                        transaction.on_commit(fail, robust=robust)
                    with transaction.atomic():
                        publish(NEWS, number)
                    with transaction.atomic():
                        publish(NEWS, "lost")
                        transaction.set_rollback(True)
                if at == 3:
                    transaction.on_commit(fail, robust=robust)

        with contextlib.nullcontext() if robust else pytest.raises(error):
            sell()
        assert wire.requests == [published(0, 1, 2)]
        # And nothing of it comes late.
        publish(NEWS, "newer")
        with transaction.atomic():
            publish(NEWS, "newest")
        assert wire.requests[1:] == [published("newer"), published("newest")]

    def test_what_a_hook_publishes_now_comes_after_its_transaction(self, wire):
        with transaction.atomic():
            transaction.on_commit(lambda: publish_now(NEWS, "now"))
            publish(NEWS, 1)
        assert wire.requests == [published(1), published("now")]

    def test_hooks_within_hooks_that_fail(self, wire):
        def fail():
            raise RuntimeError

        def hook():
            with transaction.atomic():
                publish(NEWS, "inner")
                transaction.on_commit(fail)
                publish(NEWS, "inner too")

        def sell():
            with transaction.atomic():
                transaction.on_commit(hook)
                publish(NEWS, "outer")

        with pytest.raises(RuntimeError):
            sell()
        assert wire.requests == [published("outer", "inner", "inner too")]

    def test_hooks_that_are_run_too_early_send_nothing(self, wire):
        with transaction.atomic():
            publish(NEWS, 1)
            with pytest.raises(TransactionManagementError):
                connections["default"].run_and_clear_commit_hooks()
            assert wire.requests == []
        assert wire.requests == [published(1)]

    def test_what_fails_to_be_sent_keeps_no_hook_from_running(self, wire, settings, monkeypatch):
        settings.HIGH_TEMPLAR = {"ON_ERROR": "raise"}
        seen = []

        def refuse(triggers, **_):
            raise PublishError("refused")

        monkeypatch.setattr(publisher(), "publish_all", refuse)

        def sell():
            with transaction.atomic():
                publish(NEWS, 1)
                transaction.on_commit(lambda: seen.append(1))

        with pytest.raises(PublishError, match="refused"):
            sell()
        assert seen == [1]

    def test_a_wrong_setting_is_logged_and_keeps_no_hook_from_running(self, settings, caplog):
        settings.HIGH_TEMPLAR = {"URL": "redis://:hidden@127.0.0.1"}
        seen = []
        with transaction.atomic():
            publish(NEWS, 1)
            transaction.on_commit(lambda: seen.append(1))
        publish(NEWS, 2)
        assert seen == [1]
        assert caplog.text.count("not published") == 2
        assert "not the address of a gateway's internal listener" in caplog.text
        assert "hidden" not in caplog.text

    def test_from_a_coroutine(self, wire):
        asyncio.run(apublish(NEWS, 1))
        assert wire.requests == [published(1)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_rolled_back_the_rest_leaves_as_one(wire, seed):
    """Django's own hooks are the model: what they run is what is sent."""
    dice, told = random.Random(seed), []

    def block(depth):
        with transaction.atomic():
            for _ in range(dice.randrange(5)):
                if depth < 4 and dice.random() < 0.5:
                    block(depth + 1)
                else:
                    number = dice.random()
                    publish(NEWS, number)
                    transaction.on_commit(lambda number=number: told.append(number))
            if dice.random() < 0.3:
                transaction.set_rollback(True)

    for _ in range(10):
        told.clear()
        wire.requests.clear()
        block(0)
        assert wire.requests == ([published(*told)] if told else [])


@pytest.mark.django_db(transaction=True, databases=DATABASES)
class TestSeveralDatabases:
    def test_each_has_its_own_commit(self, wire):
        with transaction.atomic():
            with transaction.atomic(using="archive"):
                publish(NEWS, 1)
                publish(NEWS, 2, using="archive")
            assert wire.requests == [published(2)]
        assert wire.requests == [published(2), published(1)]

    def test_warns_of_a_transaction_elsewhere(self, wire):
        with (
            transaction.atomic(using="archive"),
            pytest.warns(UncommittedDataWarning, match="archive"),
        ):
            publish(NEWS, 1)
        assert wire.requests == [published(1)]


@pytest.mark.django_db(transaction=True)
class TestImmediate:
    def test_warns_within_a_transaction(self, wire):
        with transaction.atomic():
            with pytest.warns(UncommittedDataWarning, match="at once") as caught:
                publish_now(NEWS, 1)
            assert wire.requests == [published(1)]
        assert caught[0].filename == __file__

    def test_is_fine_without(self, wire):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert publish_now(NEWS, 1)
        assert wire.requests == [published(1)]


class TestWithoutADatabase:
    """Also where none is configured, and where it is down."""

    def test_outside_of_a_transaction(self, wire):
        # pytest-django blocks the database, as this test has no mark.
        publish(NEWS, 1)
        assert wire.requests == [published(1)]

    def test_transactions_by_hand(self, wire, monkeypatch):
        # Itself: in place of what a proxy does not have, `monkeypatch` leaves nothing.
        connection = connections["default"]
        monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
        monkeypatch.setattr(connection, "connection", None)
        with pytest.warns(UncommittedDataWarning, match="by hand"):
            publish(NEWS, 1)
        assert wire.requests == [published(1)]


@pytest.mark.django_db(databases=DATABASES)
def test_a_model_instance_names_its_database(wire):
    order = Order(customer=7)
    order._state.db = "archive"
    with transaction.atomic(using="archive"):
        publish(NEWS, 1, using=order)
    assert [hook[1].trigger.data for hook in connections["archive"].run_on_commit[:1]] == [1]


@pytest.mark.django_db
def test_a_transaction_around_a_test_is_no_leak(wire):
    publish_now(NEWS, 1)
    assert wire.requests == [published(1)]


@pytest.mark.django_db
def test_hooks_captured_by_a_test_send(wire, django_capture_on_commit_callbacks):
    publish(NEWS, "before")
    with django_capture_on_commit_callbacks(execute=True):
        publish(NEWS, 1)
        publish(NEWS, 2)
    assert wire.requests == [published(1, 2)]


@pytest.mark.django_db(transaction=True)
def test_failures_are_raised_or_logged(settings, caplog):
    settings.HIGH_TEMPLAR = {"URL": "http://127.0.0.1:1", "ATTEMPTS": 1}
    publish(NEWS, 1)
    assert "not published" in caplog.text
    assert publisher().counts.failed == 1
    settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "ON_ERROR": "raise"}
    with pytest.raises(UnavailableError):
        publish(NEWS, 1)


class DocumentRoom(Room, target="document"):
    key: UUID


@pytest.mark.django_db(transaction=True)
def test_typed_rooms_are_looked_at_as_they_were_said(settings, monkeypatch):
    settings.HIGH_TEMPLAR = {"TYPED_ROOMS": True}
    wire = Wire(monkeypatch)
    publish((DocumentRoom(key=UUID(int=1)) for _ in range(1)), 1)
    publish({"target": "document", "key": UUID(int=1)}, 2)
    room = {"target": "document", "key": str(UUID(int=1))}
    assert wire.requests == [published(1, room=room), published(2, room=room)]


@pytest.mark.parametrize(
    ("room", "reason"),
    [
        ({"target": "order", "custmer": 7}, "OrderRoom has no custmer and needs customer"),
        ({"target": "project", "project": "7"}, "ProjectRoom.project is to be int, not '7'"),
        ({"target": "ordr", "customer": 7}, r"did you mean 'order' \(OrderRoom\)\?"),
        ({"target": "weather", "at": "sea"}, "there are .*OrderRoom, "),
        ({"weather": "fine", "at": "sea"}, "there are .*OrderRoom, "),
    ],
)
def test_typed_rooms(settings, wire, room, reason):
    settings.HIGH_TEMPLAR = {"TYPED_ROOMS": True}
    with pytest.raises(TypeError, match=f"fits none of the declared rooms: .*{reason}"):
        publish(room, 1)


class TestMixin(PublishedMixin, TestCase):
    def test_knows_what_waits_for_the_commit(self):
        order = Order.objects.create(customer=7)
        self.assert_published(OrderRoom(customer=7), {"id": order.pk, "note": ""})
        self.assert_published({"customer": 7, "target": "order"}, times=1)
        self.assert_not_published(OrderRoom(customer=8))
        self.assert_not_published(OrderRoom(customer=7), {"id": 0})
        with pytest.raises(AssertionError, match="Published was:"):
            self.assert_published(OrderRoom(customer=8))
        with pytest.raises(AssertionError, match="2 times, but 1 times"):
            self.assert_published(OrderRoom(customer=7), times=2)
        with pytest.raises(AssertionError):
            self.published.assert_nothing_published()

    def test_does_not_know_what_was_rolled_back(self):
        with transaction.atomic():
            Order.objects.create(customer=7)
            transaction.set_rollback(True)
        self.published.assert_nothing_published()

    def test_knows_what_left(self):
        with self.captureOnCommitCallbacks(execute=True):
            Order.objects.create(customer=7)
        publish_now(NEWS, 1)
        self.assert_published(OrderRoom(customer=7), times=1)
        self.assert_published(NEWS, 1)
        self.assert_not_published(NEWS, True)
        self.assert_not_published(NEWS, 1.0)


class TestMixinWithASetUpOfItsOwn(PublishedMixin, TestCase):
    """Without a word about the mixin's, and with publications before the test."""

    @classmethod
    def setUpTestData(cls):
        cls.order = Order.objects.create(customer=7)

    def setUp(self):
        self.note = "arranged"

    def test_what_came_before_is_not_counted(self):
        self.assert_nothing_published()
        self.order.save()
        self.assert_published(OrderRoom(customer=7), times=1)

    def test_clear_forgets_what_waits_for_the_commit(self):
        self.order.save()
        self.published.clear()
        self.assert_nothing_published()
        self.order.save()
        self.assert_published(OrderRoom(customer=7), times=1)

    def test_a_mark_separates_and_forgets_nothing(self):
        self.order.save()
        marked = self.published.mark()
        marked.assert_nothing_published()
        publish(NEWS, 1)
        marked.assert_published(NEWS, 1, times=1)
        marked.assert_not_published(OrderRoom(customer=7))
        self.assert_published(OrderRoom(customer=7), times=1)
        later = marked.mark()
        self.published.clear()
        publish(NEWS, 2)
        assert [each.data for each in later.sent] == [2]
        assert [each.data for each in marked.sent] == [1, 2]
        assert [each.data for each in self.published.sent] == [2]

    def test_parts_of_the_data(self):
        publish(NEWS, {"a": 1, "b": {"c": 2, "d": 3}})
        self.assert_published(NEWS, containing={"b": {"d": 3}})
        self.assert_not_published(NEWS, containing={"b": {"d": "3"}})
        with pytest.raises(AssertionError, match="containing"):
            self.assert_published(NEWS, containing={"x": 1})

    async def test_in_a_coroutine(self):
        await apublish(NEWS, 1)
        self.assert_published(NEWS, 1)
        await Order.objects.acreate(customer=8)
        self.assert_published(OrderRoom(customer=8), times=1)


@pytest.fixture
def order():
    return Order.objects.create(customer=7)


@pytest.mark.django_db
def test_the_fixture_counts_from_its_own_beginning(order, published):
    published.assert_nothing_published()
    order.save()
    published.assert_published(OrderRoom(customer=7), times=1)


@pytest.mark.django_db
def test_the_fixture(published):
    Order.objects.create(customer=7)
    published.assert_published(OrderRoom(customer=7))
    assert published.to(OrderRoom(customer=7))[0]["note"] == ""


@pytest.mark.django_db(transaction=True)
def test_the_one_without_django_warns_within_a_transaction():
    """It is the first name that an editor offers."""
    from high_templar import publish as plain

    with capture(), transaction.atomic():
        with pytest.warns(UncommittedDataWarning, match="high_templar.django"):
            plain(NEWS, 1)
    with capture():
        plain(NEWS, 1)


def test_capture_without_django():
    from high_templar import publish as plain

    with capture() as published:
        plain(NEWS, {"a": [1]})
    published.assert_published(NEWS, {"a": [1]})
    assert published.sent[0].rooms == [NEWS]
