"""The Django app."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Finds its rooms by itself (``orders/rooms.py``) and who is online from here."""

    name = "orders"

    def ready(self) -> None:
        """Listens to the gateway's hooks."""
        from orders import presence  # noqa: F401
