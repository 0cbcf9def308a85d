"""What the gateway calls: who is this visitor, and who came and went."""

from __future__ import annotations

import hmac
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http import HttpResponse
from django.http import HttpResponseBase
from django.http import JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.csrf import csrf_protect

from high_templar.django import probe
from high_templar.django import signals
from high_templar.django.auth import authenticate
from high_templar.django.conf import settings
from high_templar.django.launch import KEY_HEADER
from high_templar.django.launch import hook_key
from high_templar.django.rooms import rooms_of


class BootstrapMixin:
    """The parts of a bootstrap view; override what is different on your site.

    ::

        class Bootstrap(BootstrapMixin, View):
            def get_rooms(self, user):
                return [{"target": "news"}]

            def get_extra(self, user):
                return {"menu": menu_of(user)}
    """

    request: HttpRequest

    def get_user(self) -> Any | None:
        """Who it is; ``None`` refuses the visitor. Raises `PermissionDenied` to refuse as well."""
        user = authenticate(self.request)
        if user is None and settings().anonymous:
            from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415 # needs the app

            return AnonymousUser()
        return user

    def get_rooms(self, user: Any) -> list[dict[str, Any]]:
        """The rooms that the user may enter."""
        return rooms_of(user, self.request)

    def get_extra(self, user: Any) -> dict[str, Any]:
        """More members for the answer; the gateway passes over them."""
        return {}

    def bootstrap(self) -> JsonResponse:
        """The answer: 200 with ``allowed_rooms``, or 403 and a reason."""
        try:
            user = self.get_user()
        except PermissionDenied as error:
            return JsonResponse({"detail": str(error) or "refused"}, status=403)
        if user is None:
            return JsonResponse({"detail": "not signed in"}, status=403)
        return JsonResponse(
            {
                **self.get_extra(user),
                "user": {"id": getattr(user, "pk", None)},
                "allowed_rooms": [*self.get_rooms(user), *probe.rooms(self.request)],
            }
        )

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponseBase:
        """Answers the gateway's GET."""
        return self.bootstrap()


@method_decorator(never_cache, "dispatch")
class BootstrapView(BootstrapMixin, View):
    """The ready bootstrap view: users by ``AUTHENTICATION``, rooms by `rooms_for_user`."""

    http_method_names = ("get", "head", "options")


bootstrap = BootstrapView.as_view()


@method_decorator(csrf_exempt, "dispatch")
class HookView(View):
    """Takes a call of the gateway's hooks and sends the signal.

    The call carries the visitor's cookies. It is believed if it also carries the gateway's key, or
    a token, which no page of strangers can send, or passes Django's own check against CSRF.
    """

    event = ""
    http_method_names = ("post",)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """204 for a user, 403 for nobody in particular."""
        if _is_of_gateway(request) or "Authorization" in request.headers:
            return self._tell(request)
        return csrf_protect(self._tell)(request)

    def _tell(self, request: HttpRequest) -> HttpResponse:
        try:
            user = authenticate(request)
        except PermissionDenied:
            user = None
        if user is None:
            return HttpResponse(status=403)
        if probe.rooms(request):
            # A trial of `ht_check` is no visitor.
            return HttpResponse(status=204)
        is_gone = self.event == "disconnect"
        signal = signals.user_offline if is_gone else signals.user_online
        signal.send(sender=HookView, user=user, request=request, event=self.event)
        return HttpResponse(status=204)


def _is_of_gateway(request: HttpRequest) -> bool:
    given = request.headers.get(KEY_HEADER, "")
    return hmac.compare_digest(given.encode(), hook_key().encode())
