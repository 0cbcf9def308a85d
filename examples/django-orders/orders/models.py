"""What the site keeps."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q


class Branch(models.Model):
    """A roastery, where orders are packed."""

    name = models.CharField(max_length=40, unique=True)

    def __str__(self) -> str:
        return self.name


class Customer(models.Model):
    """A café that orders."""

    name = models.CharField(max_length=40, unique=True)

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    """A coffee, and how many bags of it are left."""

    name = models.CharField(max_length=40, unique=True)
    stock = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(stock__gte=0), name="product_stock_not_negative")
        ]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What somebody is to the site."""

    MANAGER = "manager", "Manager"
    CLERK = "clerk", "Clerk"
    CUSTOMER = "customer", "Customer"


class User(AbstractUser):
    """A manager of all, a clerk of one branch, somebody who orders for one customer, or nobody yet."""

    # Empty: no role, and nothing to see.
    role = models.CharField(max_length=10, choices=Role.choices)
    branch = models.ForeignKey(Branch, models.PROTECT, null=True, blank=True)
    customer = models.ForeignKey(Customer, models.PROTECT, null=True, blank=True)
    # Of being online or not; see `orders.presence`.
    presence_version = models.PositiveIntegerField(default=1)

    @property
    def works_here(self) -> bool:
        """Whether somebody is of the house."""
        return self.role in (Role.MANAGER, Role.CLERK)

    @property
    def title(self) -> str:
        """The role, and of what."""
        if not self.role:
            return "No role"
        place = self.branch if self.role == Role.CLERK else self.customer
        return f"{self.get_role_display()}, {place or 'all branches'}"


class Status(models.TextChoices):
    """The way of an order."""

    NEW = "new", "New"
    PACKED = "packed", "Packed"
    SENT = "sent", "Sent"
    DELIVERED = "delivered", "Delivered"

    @property
    def following(self) -> "Status | None":
        """The next step."""
        return dict(zip(list(Status), list(Status)[1:])).get(self)


class OrderQuerySet(models.QuerySet):
    """Orders, and who may see which."""

    def seen_by(self, user: User) -> "OrderQuerySet":
        """The same as the rooms of `orders.rooms.orders` say."""
        if user.role == Role.MANAGER:
            return self
        if user.role == Role.CLERK:
            return self.filter(branch=user.branch_id)
        return self.filter(customer=user.customer_id) if user.role else self.none()


class Order(models.Model):
    """Some bags of one coffee."""

    branch = models.ForeignKey(Branch, models.PROTECT)
    customer = models.ForeignKey(Customer, models.PROTECT)
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NEW)
    version = models.PositiveIntegerField(default=1)
    placed_at = models.DateTimeField(auto_now_add=True)

    objects = OrderQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    @property
    def following(self) -> Status | None:
        """The next step."""
        return Status(self.status).following


class Channel(models.TextChoices):
    """Where one can talk."""

    EVERYBODY = "everybody", "Everybody"
    STAFF = "staff", "Staff only"


class Message(models.Model):
    """Something that was said."""

    channel = models.CharField(max_length=10, choices=Channel.choices)
    author = models.ForeignKey(User, models.CASCADE)
    text = models.CharField(max_length=300)
    said_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]


class Presence(models.Model):
    """How many pages of one sign-in are open; `orders.presence` counts."""

    user = models.ForeignKey(User, models.CASCADE)
    session_key = models.CharField(max_length=40)
    pages = models.PositiveIntegerField(default=0)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "session_key"], name="presence_once_a_sign_in")
        ]
