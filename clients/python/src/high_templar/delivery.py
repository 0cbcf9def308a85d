"""The triggers of one call: their requests, and the outcome of each."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

from high_templar.command import Command
from high_templar.errors import PublishError
from high_templar.errors import RefusedError
from high_templar.errors import UnavailableError
from high_templar.errors import UnconfirmedError
from high_templar.transport import Receipt
from high_templar.trigger import Trigger

BATCH_TRIGGERS = 1_000
"""Maximum triggers in one request; the gateway's own limit is ``limits.triggers_per_request``."""

BATCH_CHARS = 4 << 20
"""Maximum characters in one request of several triggers, well below ``limits.trigger_bytes``."""


def batches(triggers: Iterable[Trigger]) -> Iterable[list[Trigger]]:
    """The triggers of a call as they are sent: each batch is one request."""
    batch: list[Trigger] = []
    size = 0
    for trigger in triggers:
        length = len(trigger.text())
        if batch and (len(batch) == BATCH_TRIGGERS or size + length > BATCH_CHARS):
            yield batch
            batch, size = [], 0
        batch.append(trigger)
        size += length
    if batch:
        yield batch


class Outcome:
    """Outcome of the triggers of one call."""

    def __init__(self) -> None:
        self.receipts: dict[int, Receipt] = {}
        self.failures: list[tuple[PublishError, list[Trigger]]] = []
        self.is_over = False
        """Whether no more are attempted: later triggers must not overtake a failed one, nor reach
        clients from which a rejected command was to keep them."""

    def publish(self, triggers: Sequence[Trigger], receipts: Sequence[Receipt]) -> None:
        """They are published."""
        self.receipts.update((id(each), receipt) for each, receipt in zip(triggers, receipts))

    def fail(self, error: PublishError, triggers: list[Trigger]) -> None:
        """They failed with this error."""
        self.is_over = not isinstance(error, RefusedError) or any(
            isinstance(each, Command) for each in triggers
        )
        if isinstance(error, RefusedError) and len(triggers) == 1:
            error.refused = triggers[0]
        self.failures.append((error, list(triggers)))
        self._note(error, triggers)

    def skip(self, triggers: list[Trigger]) -> None:
        """They are not attempted after the last failure."""
        error = self.failures[-1][0]
        self.failures[-1][1].extend(triggers)
        if isinstance(error, UnconfirmedError):
            error = UnavailableError(f"not attempted after: {error}")
        self._note(error, triggers)

    def _note(self, error: PublishError, triggers: Sequence[Trigger]) -> None:
        self.receipts.update((id(each), Receipt(each.id, error=error)) for each in triggers)
