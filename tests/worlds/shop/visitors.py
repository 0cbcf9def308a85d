"""Visitors who say by a header who they are, not by a cookie."""

from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser

from shop.models import Token

SessionStore = import_module(settings.SESSION_ENGINE).SessionStore


def by_header(get_response):
    """Takes `Authorization: Token …` and `X-Session-Token: …`.

    A browser never sends these by itself, so a page of strangers cannot misuse them and the check
    against CSRF is for cookies alone.
    """

    def middleware(request):
        word, _, key = request.headers.get("Authorization", "").partition(" ")
        session = request.headers.get("X-Session-Token")
        if word == "Token":
            token = Token.objects.select_related("user").filter(key=key).first()
            request.user = token.user if token else AnonymousUser()
            request._dont_enforce_csrf_checks = True
        elif session:
            request.session = SessionStore(session)
            request.user = get_user(request)
            request._dont_enforce_csrf_checks = True
        return get_response(request)

    return middleware
