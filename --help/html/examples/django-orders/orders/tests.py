"""What is published, to whom, and what is not; without a gateway."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.core.management import call_command
from django.db import IntegrityError
from django.test import Client
from django.test import TestCase
from django.urls import reverse
from django.utils import timezone
from high_templar.django import ANY
from high_templar.django.launch import KEY_HEADER
from high_templar.django.launch import hook_key
from high_templar.django.testing import PublishedMixin

from orders import services
from orders.management.commands.seed import fill
from orders.models import Branch
from orders.models import Customer
from orders.models import Order
from orders.models import Presence
from orders.models import Product
from orders.models import User
from orders.presence import SILENCE_MAX
from orders.presence import online_for
from orders.rooms import ChatRoom
from orders.rooms import OrderRoom
from orders.rooms import PresenceRoom


class SiteTest(PublishedMixin, TestCase):
    """The site with its users; nothing is sent."""

    @classmethod
    def setUpTestData(cls) -> None:
        fill()
        cls.maya, cls.carl, cls.cleo = User.objects.order_by("pk")
        cls.harbour, cls.hill = Branch.objects.order_by("pk")
        cls.lune, cls.nord = Customer.objects.order_by("pk")
        cls.product = Product.objects.get(name="Decaf")

    def place(self, quantity: int = 2) -> Order:
        return services.place_order(self.hill, self.lune, self.product, quantity)


class OrderTest(SiteTest):
    """Orders go to the room of their branch and customer."""

    def test_a_new_order_is_published_to_its_room(self) -> None:
        order = self.place()
        room = OrderRoom(branch=self.hill.pk, customer=self.lune.pk)
        self.assert_published(room, times=1)
        (data,) = self.published.to(room)
        self.assertEqual((data["id"], data["status"], data["version"]), (order.pk, "new", 1))
        self.assertEqual(data["following"], "Packed")

    def test_what_is_rolled_back_is_not_published(self) -> None:
        count = Order.objects.count()
        with self.assertRaises(IntegrityError):
            self.place(quantity=999)
        self.published.assert_nothing_published()
        self.assertEqual(Order.objects.count(), count)
        self.product.refresh_from_db()
        self.assertEqual(self.product.stock, 500)

    def test_every_step_is_published_and_the_last_is_the_last(self) -> None:
        order = self.place()
        for _ in range(5):
            services.advance_order(order.pk, self.maya)
        data = self.published.to(OrderRoom(branch=self.hill.pk, customer=self.lune.pk))
        self.assertEqual([each["status"] for each in data], ["new", "packed", "sent", "delivered"])
        self.assertEqual([each["version"] for each in data], [1, 2, 3, 4])
        self.assertIsNone(data[-1]["following"])


class RightsTest(SiteTest):
    """What the gateway is told, what the page shows and what the forms allow is the same."""

    def rooms_of(self, user: User) -> list[dict[str, Any]]:
        self.client.force_login(user)
        return self.client.get(reverse("high_templar:bootstrap")).json()["allowed_rooms"]

    def test_rooms_by_wildcard(self) -> None:
        for user, order_room, channel, of in (
            (self.maya, OrderRoom(branch=ANY, customer=ANY), ANY, ANY),
            (self.carl, OrderRoom(branch=self.harbour.pk, customer=ANY), ANY, ANY),
            (self.cleo, OrderRoom(branch=ANY, customer=self.lune.pk), "everybody", "staff"),
        ):
            with self.subTest(user=user.username):
                wanted = [order_room, ChatRoom(channel=channel), PresenceRoom(of=of)]
                self.assertCountEqual(self.rooms_of(user), [dict(room) for room in wanted])

    def test_a_page_shows_the_orders_that_it_would_hear(self) -> None:
        for user in (self.maya, self.carl, self.cleo):
            room = self.rooms_of(user)[0]
            wanted = [
                order.pk
                for order in Order.objects.all()
                if room["branch"] in (ANY, order.branch_id)
                and room["customer"] in (ANY, order.customer_id)
            ]
            with self.subTest(user=user.username):
                self.assertTrue(wanted)
                page = self.client.get(reverse("board"))
                self.assertEqual([order.pk for order in page.context["orders"]], wanted)

    def test_without_a_role_there_is_nothing_to_see_or_do(self) -> None:
        services.appoint(self.carl, "")
        self.assertEqual(self.rooms_of(self.carl), [])
        page = self.client.get(reverse("board"))
        self.assertContains(page, "You have no role any more.")
        for name in ("orders", "online", "chat"):
            self.assertEqual(list(page.context[name]), [])
        for name in ("place", "say"):
            self.assertEqual(self.client.post(reverse(name)).status_code, 302)
            path, headers = reverse(name), {"Accept": "application/json"}
            self.assertEqual(self.client.post(path, headers=headers).status_code, 403)
        self.published.assert_nothing_published()

    def test_a_new_role_has_the_gateway_ask_for_the_rooms_again(self) -> None:
        call_command("appoint", "carl", "none")
        call_command("appoint", "carl", "clerk", "--branch", "Hill")
        self.assertEqual(
            self.published.commands,
            [{"command": "invalidate", "user": str(self.carl.pk)}] * 2,
        )
        self.assertEqual(self.rooms_of(self.carl)[0], dict(OrderRoom(branch=2, customer=ANY)))

    def test_anonymous_clients_get_no_rooms(self) -> None:
        response = self.client.get(reverse("high_templar:bootstrap"))
        self.assertEqual(response.status_code, 403)

    def test_nobody_orders_for_others(self) -> None:
        self.client.force_login(self.cleo)
        form = {
            "product": self.product.pk,
            "quantity": 1,
            "customer": self.nord.pk,
            "branch": self.hill.pk,
        }
        response = self.client.post(reverse("place"), form, headers={"Accept": "application/json"})
        self.assertContains(response, "Customer", status_code=400)
        self.client.post(reverse("advance", args=[Order.objects.first().pk]))
        self.published.assert_nothing_published()

    def test_a_clerk_does_not_touch_orders_of_another_branch(self) -> None:
        order = self.place()
        self.published.clear()
        with self.assertRaises(Order.DoesNotExist):
            services.advance_order(order.pk, self.carl)

    def test_customers_stay_out_of_the_channel_of_staff(self) -> None:
        self.client.force_login(self.cleo)
        self.client.post(reverse("say"), {"channel": "staff", "text": "Hello?"})
        self.published.assert_nothing_published()
        self.client.post(reverse("say"), {"channel": "everybody", "text": "Hello!"})
        self.assert_published(ChatRoom(channel="everybody"), times=1)


class PresenceTest(SiteTest):
    """From the first page that connects to the last that ends, or to signing out."""

    def hook(self, user: User, event: str, client: Client | None = None) -> None:
        """What the gateway sends; each client is a sign-in."""
        if client is None:
            client = self.clients.setdefault(user.pk, Client())
        if SESSION_KEY not in client.session:
            client.force_login(user)
        path = reverse(f"high_templar:{event}")
        response = client.post(path, headers={KEY_HEADER: hook_key()})
        self.assertEqual(response.status_code, 204)

    def setUp(self) -> None:
        super().setUp()
        self.clients: dict[int, Client] = {}

    def said(self, of: str) -> list[tuple[str, bool]]:
        return [(each["name"], each["isOnline"]) for each in self.published.to(PresenceRoom(of=of))]

    def test_two_pages_are_one_user(self) -> None:
        self.hook(self.cleo, "connect")
        self.hook(self.cleo, "connect")
        self.hook(self.cleo, "ping")
        self.hook(self.cleo, "disconnect")
        self.assertEqual(self.said("customers"), [("Cleo", True)])
        self.hook(self.cleo, "disconnect")
        self.assertEqual(self.said("customers"), [("Cleo", True), ("Cleo", False)])
        self.assertEqual(self.said("staff"), [])

    def test_an_end_too_many_does_no_harm(self) -> None:
        self.hook(self.carl, "disconnect")
        self.hook(self.carl, "connect")
        self.assertEqual(self.said("staff"), [("Carl", True)])

    def test_whoever_signed_out_is_gone_unless_he_is_there_twice(self) -> None:
        phone, desktop = Client(), Client()
        for client in (phone, desktop):
            self.hook(self.cleo, "connect", client)
        phone.post(reverse("logout"))
        self.assertEqual(self.said("customers"), [("Cleo", True)])
        desktop.post(reverse("logout"))
        self.assertEqual(self.said("customers"), [("Cleo", True), ("Cleo", False)])

    def test_whoever_is_silent_for_long_is_gone(self) -> None:
        self.hook(self.cleo, "connect")
        Presence.objects.update(seen_at=timezone.now() - SILENCE_MAX - timedelta(seconds=1))
        self.assertEqual(list(online_for(self.maya)), [])
        self.hook(self.maya, "connect")
        self.assertEqual(self.said("customers"), [("Cleo", True), ("Cleo", False)])
        self.hook(self.cleo, "ping")
        self.assertEqual(self.said("customers")[2:], [("Cleo", True)])
        versions = [each["version"] for each in self.published.to(PresenceRoom(of="customers"))]
        self.assertEqual(versions, sorted(set(versions)))

    def test_customers_see_staff_only(self) -> None:
        for user in (self.maya, self.cleo):
            self.hook(user, "connect")
        self.assertEqual(list(online_for(self.cleo)), [self.maya])
        self.assertEqual(list(online_for(self.carl)), [self.cleo, self.maya])
