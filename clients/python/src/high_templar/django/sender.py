"""The publisher of this site, and how what it sends may fail."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

from django.core.signals import setting_changed
from django.dispatch import receiver

from high_templar.django import budget
from high_templar.django.conf import settings
from high_templar.django.position import positions
from high_templar.errors import PublishError
from high_templar.publisher import Publisher
from high_templar.transport import Receipt
from high_templar.trigger import Trigger

logger = logging.getLogger("high_templar")


def send(triggers: Sequence[Trigger]) -> list[Receipt]:
    """Sends triggers within the time of the request; raises or logs what fails, as configured."""
    try:
        sender = publisher()
        receipts = budget.publish(
            triggers,
            sender.timeout,
            lambda waiting, deadline: sender.publish_all(waiting, deadline=deadline),
        )
        for receipt in receipts:
            positions.note(receipt.cursor)
        return receipts
    except Exception as error:
        # Publishers log a `PublishError` themselves: this is a wrong setting, which the system
        # checks report. The data are committed, so there is nothing the caller could undo.
        if settings().on_error == "raise":
            raise
        logger.exception("not published: %d triggers, first %r", len(triggers), triggers[0])
        failure = error if isinstance(error, PublishError) else PublishError(str(error))
        return [Receipt(trigger.id, error=failure) for trigger in triggers]


@lru_cache(maxsize=1)
def publisher() -> Publisher:
    """The publisher of this site, as ``HIGH_TEMPLAR`` has it."""
    wanted = settings()
    return Publisher(
        wanted.url,
        api_key=wanted.api_key,
        timeout=wanted.timeout,
        # The other half is for another attempt, where an address does not answer at all.
        connect_timeout=wanted.timeout / 2,
        attempts=wanted.attempts,
        on_error=wanted.on_error,
        encoder=wanted.encoder_class,
        exchange=wanted.exchange,
    )


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting in ("HIGH_TEMPLAR", "HIGH_TEMPLAR_URL") and publisher.cache_info().currsize:
        publisher().close()
        publisher.cache_clear()
        positions.forget()
