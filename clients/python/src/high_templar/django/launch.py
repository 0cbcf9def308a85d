"""The gateway's settings, as they follow from Django's."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
from collections.abc import Iterator
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.http.request import validate_host
from django.urls import NoReverseMatch
from django.urls import reverse
from django.utils.crypto import salted_hmac

from high_templar.binary import find_binary
from high_templar.django import durable
from high_templar.django import signals
from high_templar.django.conf import Settings
from high_templar.django.conf import settings

KEY_HEADER = "X-High-Templar-Key"
"""Carries `hook_key` from the gateway to the hooks' views."""

_LOCAL_NAMES = {"localhost": "127.0.0.1"}


def variables(wanted: Settings | None = None) -> dict[str, str]:
    """The variables that start a gateway for this site.

    What ``HIGH_TEMPLAR["GATEWAY"]`` says wins over what follows from other settings. Settings
    that this binary does not know yet are left out. Raises `NoReverseMatch` if there is no
    bootstrap view.
    """
    wanted = wanted or settings()
    found = {
        "HT_BACKEND__BOOTSTRAP": _relative(reverse(wanted.bootstrap)),
        "HT_BACKEND__USER_ID_PATH": '["user", "id"]',
        **_backend(wanted.backend_url),
        **_listeners(wanted),
        **_hooks(),
    }
    if wanted.api_key:
        found["HT_INTERNAL__API_KEY"] = wanted.api_key
    said = {name.lower(): value for name, value in wanted.gateway.items()}
    if "origins" not in said:
        found["HT_ORIGINS__ALLOW"] = json.dumps(origins())
    headers = {**headers_of(wanted), **dict(said.get("backend", {}).get("headers", {}))}
    found["HT_BACKEND__HEADERS"] = json.dumps(headers)
    known = known_variables()
    derived = {name: value for name, value in found.items() if name in known}
    # What is said explicitly is the binary's to refuse.
    explicit = {name: v for name, v in flatten(said).items() if name != "HT_BACKEND__HEADERS"}
    return {**derived, **explicit}


def addresses(wanted: Settings | None = None) -> tuple[str, str]:
    """Where the gateway listens for browsers, and internally.

    As far as Django's settings and the environment say; an empty text for what they do not.
    """
    wanted = wanted or settings()
    said = flatten({name.lower(): value for name, value in wanted.gateway.items()})
    found = {**_listeners(wanted), **said, **os.environ}
    return found.get("HT_LISTEN", ""), found.get("HT_INTERNAL__LISTEN", "")


def hook_key(wanted: Settings | None = None) -> str:
    """Proves that a hook's call is the gateway's; derived from ``SECRET_KEY`` and the API key.

    Never the API key itself: access logs and proxies between gateway and site may record headers,
    and whoever has that key may publish.
    """
    wanted = wanted or settings()
    value = wanted.api_key or "key"
    return salted_hmac("high_templar.hooks", value, algorithm="sha256").hexdigest()


def flatten(table: Mapping[str, Any]) -> dict[str, str]:
    """Settings as in high-templar.toml, as variables: sections, and in them values."""
    found: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            for name, inner in value.items():
                found[f"HT_{key}__{name}".upper()] = _text(inner)
        else:
            found[f"HT_{key}".upper()] = _text(value)
    return found


def keys(table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The paths of all settings in such a table, as they are written."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from ((str(key), str(name)) for name in value)
        else:
            yield (str(key),)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _relative(path: str) -> str:
    return path.lstrip("/")


def _backend(url: str) -> dict[str, str]:
    if url.startswith("unix:"):
        return {"HT_BACKEND__SOCKET": url[len("unix:") :], "HT_BACKEND__URL": "http://localhost/"}
    return {"HT_BACKEND__URL": url.rstrip("/") + "/"}


def _listeners(wanted: Settings) -> dict[str, str]:
    """Where the gateway listens, as far as the addresses to reach it tell."""
    found = {}
    if wanted.url.startswith(("amqp://", "amqps://")):
        found["HT_RABBITMQ__URL"] = wanted.url
        found["HT_RABBITMQ__EXCHANGE"] = wanted.exchange
    elif wanted.url.startswith("unix:"):
        found["HT_INTERNAL__LISTEN"] = "unix:" + wanted.url[len("unix:") :].replace("//", "", 1)
    else:
        _put(found, "HT_INTERNAL__LISTEN", wanted.url, 80)
    if wanted.outbox:
        found["HT_POSTGRES__URL"] = durable.url()
        found["HT_POSTGRES__LOG"] = wanted.outbox_schema
        # A node has one log.
        found.pop("HT_RABBITMQ__URL", None)
        found.pop("HT_RABBITMQ__EXCHANGE", None)
    if wanted.public_url.startswith("ws://"):
        _put(found, "HT_LISTEN", wanted.public_url, 80)
    return found


def _put(found: dict[str, str], name: str, url: str, default_port: int) -> None:
    """An address of this machine is one to listen on; a name may be anybody's."""
    parts = urlsplit(url)
    host = _LOCAL_NAMES.get(parts.hostname or "", parts.hostname or "")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    shown = f"[{address}]" if address.version == 6 else str(address)
    found[name] = f"{shown}:{parts.port or default_port}"


def _hooks() -> dict[str, str]:
    """The hooks that have receivers here; each costs a request."""
    found = {}
    for event in signals.heard():
        try:
            path = reverse(f"high_templar:{event}")
        except NoReverseMatch:
            continue
        found[f"HT_HOOKS__{event.upper()}"] = f"POST {_relative(path)}"
    return found


def headers_of(wanted: Settings) -> dict[str, Any]:
    """The headers that the site must be sent beyond the usual, as in ``backend.headers``."""
    found: dict[str, Any] = {}
    if django_settings.CSRF_COOKIE_NAME != "csrftoken":
        found["X-CSRFToken"] = {"cookie": django_settings.CSRF_COOKIE_NAME}
    found[KEY_HEADER] = {"fixed": hook_key(wanted)}
    host = urlsplit(_backend(wanted.backend_url)["HT_BACKEND__URL"]).hostname or ""
    if not is_allowed(host):
        # Django would answer 400 to its own address.
        found["Host"] = {"fixed": allowed_host()}
    proxy_header = django_settings.SECURE_PROXY_SSL_HEADER
    if django_settings.SECURE_SSL_REDIRECT and proxy_header:
        # The gateway stands where the proxy stands, behind TLS: no redirect, please.
        name = proxy_header[0].replace("HTTP_", "", 1).replace("_", "-").title()
        found[name] = {"fixed": proxy_header[1]}
    return found


def allowed_hosts() -> list[str]:
    """The hosts that Django serves, as ``ALLOWED_HOSTS`` has them."""
    if django_settings.DEBUG and not django_settings.ALLOWED_HOSTS:
        return [".localhost", "127.0.0.1", "[::1]"]
    return list(django_settings.ALLOWED_HOSTS)


def is_allowed(host: str) -> bool:
    """Whether Django serves this host."""
    return validate_host(f"[{host}]" if ":" in host else host, allowed_hosts())


def allowed_host(wish: str = "") -> str:
    """A host that Django serves: the wished one, if it does."""
    if wish and is_allowed(wish):
        return wish
    named = [host.lstrip(".") for host in allowed_hosts() if host != "*"]
    return named[0] if named else "localhost"


def origins() -> list[str]:
    """The pages that may connect, beside those of the host that they connect to."""
    found = list(django_settings.CSRF_TRUSTED_ORIGINS)
    for host in allowed_hosts():
        # "*" says that something before Django checks hosts: nothing about foreign pages.
        if host.startswith("."):
            found += [host[1:], f"*{host}"]
        elif host != "*":
            found.append(host)
    return list(dict.fromkeys(found))


@lru_cache(maxsize=1)
def known_variables() -> frozenset[str]:
    """The variables that the binary understands."""
    shown = subprocess.run(  # noqa: S603
        [find_binary(), "config", "--toml"], check=True, capture_output=True, text=True, timeout=30
    ).stdout
    section, found = "", set()
    for line in shown.splitlines():
        table = re.fullmatch(r"#?\[([a-z_.]+)\]", line)
        setting = re.match(r"#?([a-z_]+) = ", line)
        if table:
            section = table[1].replace(".", "__").upper() + "__"
        elif setting:
            found.add(f"HT_{section}{setting[1].upper()}")
    return frozenset(found)
