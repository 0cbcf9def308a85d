"""What the shop answers."""

import json
from functools import partial
from functools import wraps

from django.contrib import auth
from django.db import transaction
from django.http import HttpResponse
from django.http import JsonResponse
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from django.views.decorators.http import require_POST

from shop.models import Call
from shop.models import Order
from shop.models import Presence
from shop.push import trigger


def members_only(view):
    """Strangers get 403. What the gateway sent is kept."""

    @wraps(view)
    def guarded(request):
        name = request.user.get_username()
        Call.objects.create(path=request.path, user=name, headers=dict(request.headers))
        if not request.user.is_authenticated:
            return JsonResponse({"code": "NotAuthenticated"}, status=403)
        return view(request)

    return guarded


@require_GET
@members_only
def bootstrap(request):
    """Who it is and what they may hear: staff every customer's orders, customers their own."""
    user = request.user
    customer = "*" if user.is_staff else user.username
    return JsonResponse(
        {
            "user": {"data": {"id": user.pk, "username": user.username}},
            "allowed_rooms": [{"target": "order", "customer": customer}, {"target": "news"}],
        }
    )


@csrf_exempt
@require_POST
def login(request):
    """Starts a session and hands out the CSRF cookie."""
    user = auth.authenticate(request, **json.loads(request.body))
    if user is None:
        return HttpResponse(status=403)
    auth.login(request, user)
    get_token(request)
    return JsonResponse({"session": request.session.session_key})


@require_GET
def online(request):
    """Everyone who is online."""
    names = Presence.objects.filter(online=True).values_list("user__username", flat=True)
    return JsonResponse(sorted(names), safe=False)


@require_POST
@members_only
def notify_online(request):
    """The gateway says: this user is there."""
    Presence.objects.update_or_create(user=request.user, defaults={"online": True})
    return HttpResponse(status=204)


@require_POST
@members_only
def notify_offline(request):
    """The gateway says: this user has left."""
    Presence.objects.update_or_create(user=request.user, defaults={"online": False})
    return HttpResponse(status=204)


@csrf_exempt
@require_POST
def order(request):
    """Saves an order and tells whoever listens."""
    wanted = json.loads(request.body)
    via = wanted.pop("via")
    with transaction.atomic():
        saved = Order.objects.create(**wanted)
        rooms = [{"target": "order", "customer": saved.customer}]
        data = {"id": saved.pk, "note": saved.note, "total": str(saved.total)}
        transaction.on_commit(partial(trigger, rooms, data, via))
    return JsonResponse(data, status=201)
