"""How the shop tells the gateway what happened: the two ways of django-binder."""

import json

import pika
import requests
from django.conf import settings

EXCHANGE = "hightemplar"


def trigger(rooms, data, via):
    """Sends one trigger, over `rabbitmq` or `http`."""
    message = json.dumps({"rooms": rooms, "data": data})
    {"rabbitmq": over_rabbitmq, "http": over_http}[via](message)


def over_rabbitmq(message):
    """A new connection for each trigger; the exchange is never declared."""
    connection = pika.BlockingConnection(pika.URLParameters(settings.HIGH_TEMPLAR_RABBITMQ))
    channel = connection.channel()
    channel.basic_publish(exchange=EXCHANGE, routing_key="*", body=message)
    connection.close()


def over_http(message):
    """A post without a content type; whether it arrives does not matter to the shop."""
    try:
        requests.post(f"{settings.HIGH_TEMPLAR_URL}/trigger/", data=message, timeout=5)
    except requests.RequestException:
        pass
