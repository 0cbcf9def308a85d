"""``manage.py appoint``: gives a user another role, as long as pages are open, too."""

from typing import Any

from django.core.management.base import BaseCommand
from django.core.management.base import CommandParser

from orders import services
from orders.models import Branch
from orders.models import Role
from orders.models import User

NONE = "none"


class Command(BaseCommand):
    """Gives a role, or takes it."""

    help = "Gives a user of the house another role, or none. Open pages follow at once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Takes who, as what, and where."""
        parser.add_argument("username")
        parser.add_argument("role", choices=[Role.MANAGER, Role.CLERK, NONE])
        parser.add_argument("--branch", help="the branch of a clerk")

    def handle(self, *_: Any, username: str, role: str, branch: str | None, **__: Any) -> None:
        """Finds the user and the branch."""
        services.appoint(
            User.objects.get(username=username),
            "" if role == NONE else role,
            Branch.objects.get(name=branch) if branch else None,
        )
