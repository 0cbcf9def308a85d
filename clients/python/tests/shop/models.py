"""What the shop keeps."""

from django.db import models

from high_templar.django import publish
from shop.rooms import OrderRoom


class Order(models.Model):
    """Something that a customer bought."""

    customer = models.IntegerField()
    note = models.TextField(default="")

    def save(self, *arguments, **options):
        super().save(*arguments, **options)
        publish(OrderRoom(customer=self.customer), {"id": self.pk, "note": self.note})


class News(models.Model):
    """Says by itself who may hear of it, as django-binder's views do."""

    title = models.TextField()

    @classmethod
    def get_rooms_for_user(cls, user):
        return [{"target": "news"}]


class Project(models.Model):
    """What its members work on."""

    name = models.TextField()
    members = models.ManyToManyField("auth.User")


class Task(models.Model):
    """Belongs to a project, and may move to another one; see `shop.rooms`."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    title = models.TextField()
