"""``{% load high_templar %}``: the JavaScript client in a page, without a build of one's own."""

from __future__ import annotations

import json
from typing import Any

from django import template
from django.template import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.safestring import mark_safe

from high_templar.django.conf import settings

register = template.Library()

CLIENT = "high_templar/client.js"
"""The client among the static files."""

MODULES = ["@high-templar/client", "@high-templar/client/live"]
"""What modules of a page import it as: both are in the one file."""

_ESCAPES = {ord("<"): "\\u003C", ord(">"): "\\u003E", ord("&"): "\\u0026"}


@register.simple_tag(takes_context=True)
def high_templar_client(context: Context, nonce: Any = None) -> SafeString:
    """An import map, so that modules of the page can import ``@high-templar/client``.

    Also ``@high-templar/client/live``.

    Put it before the page's module scripts. With a Content Security Policy the ``nonce`` is taken
    from the context (Django 6's ``csp_nonce``, or django-csp's ``request.csp_nonce``). A page with
    an import map of its own names ``{% static "high_templar/client.js" %}`` there instead.
    """
    found = nonce or context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", None)
    imports = json.dumps({"imports": dict.fromkeys(MODULES, static(CLIENT))}).translate(_ESCAPES)
    # Without markup in it: the text of a script is not escaped by HTML's rules.
    return format_html(
        '<script type="importmap"{}>{}</script>',
        format_html(' nonce="{}"', found) if found else "",
        mark_safe(imports),  # noqa: S308
    )


@register.simple_tag(takes_context=True)
def high_templar_position(context: Context) -> str:
    """The position of the page, for ``since`` of the client: ``""`` if it is not known.

    Needs `high_templar.django.middleware.PositionMiddleware` and the context processor ``request``.
    """
    return getattr(context.get("request"), "high_templar_position", None) or ""


@register.simple_tag
def high_templar_url() -> str:
    """Where pages connect: ``HIGH_TEMPLAR["PUBLIC_URL"]``."""
    return settings().public_url
