"""What the shop keeps."""

from django.conf import settings
from django.db import models


class Token(models.Model):
    """A key for `Authorization: Token …`."""

    key = models.CharField(max_length=40, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)


class Order(models.Model):
    """Something that a customer bought."""

    customer = models.CharField(max_length=40)
    note = models.TextField(default="")
    total = models.DecimalField(max_digits=10, decimal_places=2)


class Presence(models.Model):
    """Whether a user is online, as the gateway told last."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    online = models.BooleanField(default=False)


class Call(models.Model):
    """A call of the gateway: which, by whom and with which headers."""

    path = models.CharField(max_length=200)
    user = models.CharField(max_length=40)
    headers = models.JSONField()
