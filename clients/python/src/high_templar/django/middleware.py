"""Stamps responses with their position, from which pages follow what is published."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest
from django.http import HttpResponseBase
from django.utils.cache import get_max_age

from high_templar.django.position import ASK_SECONDS
from high_templar.django.position import positions
from high_templar.django.sender import publisher

HEADER = "High-Templar-Position"
"""The header of a response."""

ATTRIBUTE = "high_templar_position"
"""The attribute of a request, which the template tag of the same name shows."""


class PositionMiddleware:
    """Sends ``High-Templar-Position`` with every response whose data were read in this request.

    It is a cursor that was known before the view ran, so the data contain whatever was published up
    to it, and the client's ``since`` has the gateway deliver the rest. No request waits for it, or
    fails: the gateway is asked in the background, once a second at most. A response without the
    header has no position: the page fetches when it is subscribed, as ever.

    Responses that are cached (``Cache-Control: max-age``, such as by ``cache_page``) get none:
    their data may be older.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self._get_response: Any = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answers, with the position of before."""
        if self._is_async:
            return self._answer_later(request)
        position = _position(request)
        return _stamped(self._get_response(request), position)

    async def _answer_later(self, request: HttpRequest) -> HttpResponseBase:
        position = _position(request)
        return _stamped(await self._get_response(request), position)


def _position(request: HttpRequest) -> str | None:
    position = positions.current(_ask)
    setattr(request, ATTRIBUTE, position)
    return position


def _ask() -> str | None:
    return publisher().position(timeout=ASK_SECONDS)


def _stamped(response: HttpResponseBase, position: str | None) -> HttpResponseBase:
    if position and not response.has_header(HEADER) and not get_max_age(response):
        response[HEADER] = position
    return response
