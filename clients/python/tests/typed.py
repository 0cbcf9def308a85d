"""For mypy: what a site's own code is told. Every comment here must be needed."""

from __future__ import annotations

from typing import Any

from high_templar import ANY
from high_templar import AsyncPublisher
from high_templar import Publisher
from high_templar import PublishError
from high_templar import Receipt
from high_templar import Room
from high_templar import Trigger
from high_templar import apublish
from high_templar import configure
from high_templar import publish
from high_templar.django import adisconnect
from high_templar.django import apublish as apublish_at_commit
from high_templar.django import apublish_now
from high_templar.django import now
from high_templar.django import permit
from high_templar.django import publish as publish_at_commit
from high_templar.django import publish_now


class OrderRoom(Room, target="orders"):
    customer: int
    kind: int | Any = 0


room = OrderRoom(customer=7)
every: OrderRoom = OrderRoom(customer=ANY)
number: int = room.customer
receipt: Receipt = publish([room, {"plain": 1}], {"id": 1})
position: int | None = Publisher("http://127.0.0.1:8002").publish(room, 1).position
logged: PublishError | None = Publisher(on_error="log").publish_all([Trigger(room, 1)])[0].error
at_once: int | None = publish_now(room, 1).position
publish_at_commit(room, {"id": 1}, using="other")

matched: int | None = Publisher().disconnect(user=7, label=["a"], come_back="soon").matched
matched = now.unsubscribe(room, session="s", dry_run=True).matched
permit([room, {"plain": 1}], user=7)
missing: tuple[str, ...] = now.invalidate(user=7, confirm="everywhere").missing

Publisher().disconnect(usr=7)  # type: ignore[call-arg]
Publisher().disconnect(user=None)  # type: ignore[arg-type]
Publisher().disconnect(user=7, confirm="here")  # type: ignore[arg-type]
Publisher().disconnect(user=7, come_back="now")  # type: ignore[arg-type]
OrderRoom(custmer=7)  # type: ignore[call-arg]
OrderRoom(customer="7")  # type: ignore[arg-type]
publish("orders", 1)  # type: ignore[arg-type]
print(room.custmer)  # type: ignore[attr-defined]
configure("http://127.0.0.1:8002", timeuot=3)  # type: ignore[call-arg]
configure("http://127.0.0.1:8002", transport="http")  # type: ignore[arg-type]
AsyncPublisher("http://127.0.0.1:8002", on_error="rise")  # type: ignore[arg-type]
Publisher("http://127.0.0.1:8002", on_eror="log")  # type: ignore[call-arg]
publish_now(room, 1, using="other")  # type: ignore[call-arg]


async def example() -> None:
    await adisconnect(user=7, reason="moved")
    matched: int | None = (await AsyncPublisher().permit([room], user=7)).matched
    print(matched)
    position: int | None = (await apublish(room, 1)).position
    position = (await AsyncPublisher(on_error="log").publish(room, 1)).position
    position = (await apublish_now(room, position)).position
    await apublish_at_commit(room, 1, imediate=True)  # type: ignore[call-arg]
    await apublish(room, 1, imediate=True)  # type: ignore[call-arg]
