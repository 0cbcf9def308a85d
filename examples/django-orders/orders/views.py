"""The pages, and what their forms do."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.db import IntegrityError
from django.forms import Form
from django.http import Http404
from django.http import HttpRequest
from django.http import HttpResponse
from django.http import JsonResponse
from django.shortcuts import redirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from orders import rooms
from orders import services
from orders.forms import MessageForm
from orders.forms import OrderForm
from orders.management.commands.seed import PASSWORD
from orders.models import Channel
from orders.models import Message
from orders.models import Order
from orders.models import User
from orders.presence import online_for

SHOWN_MAX = 50
NO_ROLE = "You have no role any more."


class SignIn(LoginView):
    """The usual sign-in, with the users of the example at hand."""

    template_name = "orders/sign_in.html"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The users and their password, which is for everybody to know."""
        users = User.objects.select_related("branch", "customer").order_by("pk")
        return super().get_context_data(users=users, password=PASSWORD, **kwargs)


@never_cache
@login_required
def board(request: HttpRequest) -> HttpResponse:
    """The one page: everything as it stands, and what its script needs to keep it so."""
    user = request.user
    orders = Order.objects.seen_by(user).select_related("branch", "customer", "product")
    said = Message.objects.select_related("author")
    if not user.works_here:
        said = said.filter(channel=Channel.EVERYBODY) if user.role else said.none()
    granted = {
        "order": rooms.orders(user),
        "chat": rooms.chat(user),
        "presence": rooms.presence(user),
    }
    return render(
        request,
        "orders/board.html",
        {
            "orders": orders[:SHOWN_MAX],
            "chat": reversed(said[:SHOWN_MAX]),
            "online": online_for(user),
            "order_form": OrderForm(user),
            "message_form": MessageForm(user),
            "live": {
                "url": settings.HIGH_TEMPLAR["PUBLIC_URL"],
                # From before the orders were read: what is published after it, the page receives.
                "position": request.high_templar_position,
                # One room of each kind, or none.
                "rooms": {kind: room for kind, some in granted.items() for room in some},
            },
        },
    )


@require_POST
@login_required
def place(request: HttpRequest) -> HttpResponse:
    """A new order; more than there is in stock fails in the middle of the transaction."""
    if not request.user.role:
        return failed(request, NO_ROLE, status=403)
    form = OrderForm(request.user, request.POST)
    if not form.is_valid():
        return failed(request, first_error(form))
    try:
        services.place_order(**form.cleaned_data)
    except IntegrityError:
        return failed(request, "There is not so much in stock: the order was rolled back.")
    return done(request)


@require_POST
@login_required
def advance(request: HttpRequest, pk: int) -> HttpResponse:
    """The next step of an order, which those of the house take."""
    if not request.user.works_here:
        return failed(request, "Only staff may do this.", status=403)
    try:
        services.advance_order(pk, request.user)
    except Order.DoesNotExist as error:
        raise Http404 from error
    return done(request)


@require_POST
@login_required
def say(request: HttpRequest) -> HttpResponse:
    """Something new in the chat."""
    if not request.user.role:
        return failed(request, NO_ROLE, status=403)
    form = MessageForm(request.user, request.POST)
    if not form.is_valid():
        return failed(request, first_error(form))
    services.say(request.user, **form.cleaned_data)
    return done(request)


def done(request: HttpRequest) -> HttpResponse:
    """The script is told that it is done; without one the page comes anew."""
    return redirect("board") if request.accepts("text/html") else JsonResponse({})


def failed(request: HttpRequest, why: str, status: int = 400) -> HttpResponse:
    """Likewise, with what was wrong."""
    if not request.accepts("text/html"):
        return JsonResponse({"error": why}, status=status)
    messages.error(request, why)
    return redirect("board")


def first_error(form: Form) -> str:
    """What is wrong first."""
    name, errors = next(iter(form.errors.items()))
    return f"{name.capitalize()}: {errors[0]}"
