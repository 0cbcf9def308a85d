"""Whether the configured bootstrap view is the one that answers at its URL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import Resolver404
from django.urls import URLPattern
from django.urls import URLResolver
from django.urls import get_resolver
from django.urls import get_script_prefix
from django.urls import resolve


def view_at(path: str) -> Any | None:
    """The view that answers at a path as `reverse` returns it; ``None`` if there is none."""
    try:
        return resolve("/" + path[len(get_script_prefix()) :]).func
    except Resolver404:
        return None


def other_view(name: str, path: str) -> Any | None:
    """The view that answers at the path of the URL ``name``, if it is not the one of that name.

    A route before it, such as a catch-all route, may match the same path.
    """
    view = view_at(path)
    if view is None or view in _views(name.split(":"), get_resolver().url_patterns):
        return None
    return view


def other_view_hint(view: Any, path: str) -> str:
    """What to do about a view that answers in place of the configured one."""
    return (
        f"Another view, {dotted_path(view)}, answers at {path}: put the include of "
        "high_templar.django.urls before it in ROOT_URLCONF. If it is your own bootstrap view, "
        "name its URL in HIGH_TEMPLAR['BOOTSTRAP']."
    )


def dotted_path(view: Any) -> str:
    """Where a view is defined."""
    view = getattr(view, "view_class", None) or getattr(view, "cls", None) or view
    name = getattr(view, "__qualname__", None) or type(view).__qualname__
    return f"{view.__module__}.{name}"


def _views(name: list[str], patterns: Any) -> Iterator[Any]:
    """The views with this name, which follows the namespaces of the includes around them."""
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            if name == [pattern.name]:
                yield pattern.callback
        elif isinstance(pattern, URLResolver):
            if pattern.namespace is None:
                yield from _views(name, pattern.url_patterns)
            elif len(name) > 1 and name[0] in (pattern.namespace, pattern.app_name):
                yield from _views(name[1:], pattern.url_patterns)
