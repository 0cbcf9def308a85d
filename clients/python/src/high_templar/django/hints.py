"""What to do about a step of `ht_check` that failed, and how its results are written."""

from __future__ import annotations

import ssl
from collections.abc import Sized
from typing import Any

from high_templar.django import launch
from high_templar.django import occupant
from high_templar.django.conf import settings
from high_templar.http import HttpTransport

REDIRECTS = (301, 302, 303, 307, 308)
REFUSALS = (401, 403, 404)
START = "Start it with: manage.py high_templar. Or is HIGH_TEMPLAR['URL'] wrong?"
KEY = "HIGH_TEMPLAR['API_KEY'] is not the gateway's internal.api_key."


def certificate(error: BaseException | None) -> str:
    """What to do about a certificate, where that is the cause."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"The certificate is not accepted: {error.verify_message}. If it is signed by a CA "
                "of your own, name that with --ca FILE, and for the site in the variable "
                "SSL_CERT_FILE."
            )
        if isinstance(error, ssl.SSLError):
            return "Does that port speak TLS? Otherwise the address begins with http: or ws:."
        error = error.__cause__
    return ""


def port(transport: HttpTransport) -> str:
    """What to do about another program at one of the gateway's ports, where that is the cause."""
    public, _ = launch.addresses()
    reason = occupant.reason_for(public, settings().url, transport)
    if not reason:
        return ""
    return (
        f"{reason[0].upper()}{reason[1:]}, and stop it. Or choose another port in "
        "HIGH_TEMPLAR['URL'] (internal listener) or PUBLIC_URL (browsers)."
    )


def count(rooms: Sized) -> str:
    """How many there are."""
    return f"{len(rooms)} room" + ("" if len(rooms) == 1 else "s")


def status(answer: Any) -> str:
    """What to do about a status other than 200 of the bootstrap view."""
    code = answer.status_code
    if code in REDIRECTS:
        return f"It redirects to {answer['Location']}: the gateway does not follow redirects."
    if code in (401, 403):
        return (
            "The user is not known by HIGH_TEMPLAR['AUTHENTICATION'], or not active. "
            "Name one with --user NAME or --token TOKEN."
        )
    if code == 400:
        return "Is the host in ALLOWED_HOSTS?"
    if code == 404:
        return "The view is not where its URL says."
    return "The site's log has the error."


def excerpt(content: bytes) -> str:
    """The beginning of an answer, for the end of a sentence."""
    text = content.decode(errors="replace").strip().partition("\n")[0][:200]
    return f": {text}" if text else ""


def bare(url: str) -> str:
    """An address without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
