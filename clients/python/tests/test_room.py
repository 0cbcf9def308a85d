"""Typed rooms, and triggers as text."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any
from typing import ClassVar
from typing import Literal

import pytest

from high_templar import ANY
from high_templar import Room
from high_templar import Trigger


class OrderRoom(Room):
    customer: int | Any


class OrderLineRoom(Room):
    order: int
    kind: Literal["a", "b"] = "a"
    note: str | None = None


class Feed(Room, target=None):
    feed: str


class Orders(OrderRoom, target="orders"):
    year: int


class Chosen(Room):
    target: str


class Strict(Room):
    customer: int


def test_a_room_is_its_members():
    assert OrderRoom(customer=7) == {"target": "order", "customer": 7}
    assert dict(OrderLineRoom(order=1)) == {
        "target": "order_line",
        "order": 1,
        "kind": "a",
        "note": None,
    }
    assert dict(Feed(feed="x")) == {"feed": "x"}
    assert dict(Orders(customer=1, year=2)) == {"target": "orders", "customer": 1, "year": 2}
    assert dict(Chosen(target="x")) == {"target": "x"}
    assert Strict(customer=ANY) == {"target": "strict", "customer": "*"}
    assert Strict(customer=7).customer == 7
    assert hash(Strict(customer=7)) == hash(Strict(customer=7))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Strict(custmer=7), "has no custmer and needs customer"),
        (Strict, "needs customer"),
        (lambda: Strict(customer="7"), "is to be int, not '7'"),
        (lambda: Strict(customer=True), "is to be int"),
        (lambda: Strict(customer=7.0), "is to be int"),
        (lambda: OrderLineRoom(order=1, kind="c"), "Literal"),
        (lambda: OrderLineRoom(order=1, note=5), "note"),
    ],
)
def test_a_typo_fails(make, complaint):
    with pytest.raises(TypeError, match=complaint):
        make()


def test_a_room_does_not_change():
    room = Strict(customer=7)
    with pytest.raises(AttributeError):
        room.customer = 8
    for change in (
        lambda: room.update(customer=8),
        lambda: room.pop("customer"),
        room.clear,
        lambda: room.setdefault("x", 1),
        room.popitem,
        lambda: room.__setitem__("customer", 8),
        lambda: room.__delitem__("customer"),
        lambda: room.__ior__({"customer": 8}),
    ):
        with pytest.raises(TypeError, match="does not change"):
            change()
    assert dict(room) == {"target": "strict", "customer": 7}


class Numbered(Room):
    limit: ClassVar[int] = 3
    n: int | float


def test_a_class_variable_is_no_member():
    assert dict(Numbered(n=1)) == {"target": "numbered", "n": 1}
    assert Numbered.limit == 3


def test_equal_is_what_is_the_same_json():
    whole, real = Numbered(n=1), Numbered(n=1.0)
    assert whole != real
    assert whole != {"target": "numbered", "n": True}
    assert whole != {"target": "numbered", "n": 1.0}
    assert whole == {"n": 1, "target": "numbered"}
    assert len({whole, real, Numbered(n=1)}) == 2


def test_json_and_copies():
    room = OrderLineRoom(order=1)
    assert json.loads(json.dumps({"room": room}))["room"] == room
    for again in (copy.copy(room), copy.deepcopy(room), pickle.loads(pickle.dumps(room))):
        assert again == room
        assert type(again) is OrderLineRoom


def test_keys_that_a_mapping_needs_are_told():
    with pytest.raises(TypeError, match="cannot have the key items"):

        class Bad(Room):
            items: int


def test_admits():
    assert Strict.admits({"target": "strict", "customer": 7})
    assert not Strict.admits({"target": "strict", "custmer": 7})
    assert not Strict.admits({"target": "other", "customer": 7})
    assert not Strict.admits({"target": "strict", "customer": "7"})


def test_text_of_a_trigger():
    trigger = Trigger([Strict(customer=7), {"b": 1, "a": 2}, {"a": 2, "b": 1}], {"é": 1}, id="x")
    text = trigger.text()
    assert json.loads(text) == {
        "rooms": [{"target": "strict", "customer": 7}, {"a": 2, "b": 1}],
        "data": {"é": 1},
        "id": "x",
    }
    assert json.loads(Trigger({}, Strict(customer=1)).text())["data"]["customer"] == 1
    assert Trigger({}, 1).id != Trigger({}, 1).id
    assert "secret" not in repr(Trigger({}, "secret"))
