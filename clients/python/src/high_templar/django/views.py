"""What the gateway calls: which user a client is, and which connections open and close."""

from __future__ import annotations

import hmac
import inspect
import logging
from collections.abc import Awaitable
from collections.abc import Callable
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http import HttpResponse
from django.http import HttpResponseBase
from django.http import JsonResponse
from django.urls import NoReverseMatch
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.cache import patch_vary_headers
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.csrf import csrf_protect

from high_templar.django import probe
from high_templar.django import routes
from high_templar.django import signals
from high_templar.django.auth import DJANGOS_USER
from high_templar.django.auth import authenticate
from high_templar.django.auth import identify
from high_templar.django.auth import session as session_user
from high_templar.django.conf import settings
from high_templar.django.launch import KEY_HEADER
from high_templar.django.launch import hook_key
from high_templar.django.rooms import plain
from high_templar.django.rooms import rooms_of
from high_templar.django.sessions import session_name

logger = logging.getLogger("high_templar")


def never_stored(answer: HttpResponseBase) -> HttpResponseBase:
    """Marks an answer as one user's own, for no cache to keep: rights end."""
    patch_cache_control(answer, private=True, no_store=True)
    patch_vary_headers(answer, ("Cookie", "Authorization"))
    return answer


async def _never_stored_later(answer: Awaitable[HttpResponseBase]) -> HttpResponseBase:
    return never_stored(await answer)


def keep_idle(request: HttpRequest) -> None:
    """Has ``SESSION_SAVE_EVERY_REQUEST`` not renew the session: the gateway asks, not the user.

    What a receiver changes in the session is saved.
    """
    session: Any = getattr(request, "session", None)
    if session is None or not django_settings.SESSION_SAVE_EVERY_REQUEST:
        return
    save = session.save

    def save_changes(*args: Any, **kwargs: Any) -> None:
        if session.modified:
            save(*args, **kwargs)

    session.save = save_changes


def login_not_required(view: Callable[..., HttpResponseBase]) -> Any:
    """Has `LoginRequiredMiddleware` of Django 5.1 let the gateway through.

    The gateway asks for clients without credentials as well and wants an answer, not a redirect
    to a page for people.
    """
    view.login_required = False  # type: ignore[attr-defined]
    return view


class BootstrapMixin:
    """The parts of a bootstrap view; override what is different on your site.

    ::

        class Bootstrap(BootstrapMixin, View):
            def get_user(self, request):
                return super().get_user(request) or guest_of(request)

            def get_rooms(self, user):
                return [{"target": "news"}]

            def get_extra(self, user):
                return {"menu": menu_of(user)}

    Works on Django's ``View`` and on ``APIView`` of REST framework. No cache keeps the response,
    and Django's ``LoginRequiredMiddleware`` lets the request pass. A middleware of your own that
    requires a login must let the path of the view pass.
    """

    request: HttpRequest

    def get_user(self, request: HttpRequest | None = None) -> Any | None:
        """Who asks; ``None`` refuses the client. Raises `PermissionDenied` to refuse as well.

        ``request`` is that of the view; an override without this parameter works too.
        """
        user = authenticate(self.request if request is None else request)
        if user is None and settings().anonymous:
            from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415 # needs the app

            return AnonymousUser()
        return user

    def get_rooms(self, user: Any) -> list[dict[str, Any]]:
        """The rooms that the user may enter."""
        return rooms_of(user, self.request)

    def get_session(self, user: Any) -> str | None:
        """The name of the user's sign-in, by which a logout disconnects its connections.

        ``None`` if the user is not signed in by Django's session.
        """
        # REST framework's request has Django's inside.
        request = getattr(self.request, "_request", self.request)
        signed_in = session_user(request)
        key = getattr(getattr(request, "session", None), "session_key", None)
        if not key or signed_in is None or signed_in.pk != getattr(user, "pk", None):
            return None
        return session_name(key)

    def get_extra(self, user: Any) -> dict[str, Any]:
        """More members for the answer; the gateway passes over them."""
        return {}

    @classmethod
    def as_view(cls, *args: Any, **options: Any) -> Any:
        """The view, which needs no login."""
        return login_not_required(super().as_view(*args, **options))  # type: ignore[misc]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answers, for no cache to keep."""
        keep_idle(request)
        # REST framework replaces it by what its own classes find, which may be nobody.
        setattr(request, DJANGOS_USER, getattr(request, "user", None))
        answer: Any = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        if inspect.isawaitable(answer):
            return _never_stored_later(answer)  # type: ignore[return-value] # Django awaits it
        return never_stored(answer)

    def bootstrap(self) -> JsonResponse:
        """The answer: 200 with ``allowed_rooms``, or 403 and a reason."""
        answer = self._answer()
        never_stored(answer)
        return answer

    def _answer(self) -> JsonResponse:
        try:
            user = (
                self.get_user(self.request) if _takes_argument(self.get_user) else self.get_user()
            )
        except PermissionDenied as error:
            return JsonResponse({"detail": str(error) or "refused"}, status=403)
        if user is None:
            return JsonResponse({"detail": "not signed in"}, status=403)
        session = self.get_session(user)
        return JsonResponse(
            {
                **({} if session is None else {"session": session}),
                **self.get_extra(user),
                "user": {"id": getattr(user, "pk", None)},
                "allowed_rooms": [*plain(self.get_rooms(user)), *probe.rooms(self.request)],
            }
        )

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponseBase:
        """Answers the gateway's GET."""
        return self.bootstrap()


def _takes_argument(method: Callable[..., Any]) -> bool:
    """Whether a method takes a positional argument beside ``self``."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return any(each.kind in kinds for each in inspect.signature(method).parameters.values())


def is_bootstrap_view(view: Any) -> bool:
    """Whether a view of a URL is made of `BootstrapMixin`."""
    kind = getattr(view, "view_class", None) or getattr(view, "cls", None)
    return isinstance(kind, type) and issubclass(kind, BootstrapMixin)


def serves_bootstrap() -> bool:
    """Whether this site's bootstrap view is made of it, so that users and sessions have names."""
    try:
        view = routes.view_at(reverse(settings().bootstrap))
    except NoReverseMatch:
        return False
    return is_bootstrap_view(view)


class BootstrapView(BootstrapMixin, View):
    """The ready bootstrap view: users by ``AUTHENTICATION``, rooms by `grants_for_user`."""

    http_method_names = ("get", "head", "options")


bootstrap = BootstrapView.as_view()


@method_decorator([csrf_exempt, login_not_required], "dispatch")
class HookView(View):
    """Takes a call of the gateway's hooks and sends the signal.

    The call carries the client's cookies. It is believed if it also carries the gateway's key, or
    credentials that a browser does not send by itself, or passes Django's own check against CSRF.
    """

    event = ""
    http_method_names = ("post",)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """204 for a user, 403 without one."""
        keep_idle(request)
        if _is_of_gateway(request):
            return self._notify(request)
        try:
            user, by_session = identify(request)
        except PermissionDenied:
            return HttpResponse(status=403)
        if user is not None and not by_session and "Authorization" in request.headers:
            # Such as a token. `Basic` of a password in front of the site proves nothing: the
            # browser adds it to requests of another site's pages, as it does a session's cookie.
            return self._notify(request)
        return csrf_protect(self._notify)(request)

    def _notify(self, request: HttpRequest) -> HttpResponse:
        try:
            user = authenticate(request)
        except PermissionDenied:
            user = None
        if user is None:
            return HttpResponse(status=403)
        if probe.rooms(request):
            # A trial of `ht_check` is no user's page.
            return HttpResponse(status=204)
        results = [
            result
            for signal in signals.BY_EVENT[self.event]
            for result in signal.send_robust(
                sender=HookView, user=user, request=request, event=self.event
            )
        ]
        for notified, result in results:
            if isinstance(result, Exception):
                # The gateway does not look at the status, and the others are to know.
                name = getattr(notified, "__qualname__", repr(notified))
                logger.error("the %s hook: receiver %s failed", self.event, name, exc_info=result)
        return HttpResponse(status=204)


def _is_of_gateway(request: HttpRequest) -> bool:
    given = request.headers.get(KEY_HEADER, "")
    return hmac.compare_digest(given.encode(), hook_key().encode())
