"""Rooms over Django Channels: a group for each room, Redis as the channel layer. A client
subscribes to a room by name, and what is posted to /publish/?room=NAME is sent to its group."""

import json
import os

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        },
    },
    DEBUG=False,
    INSTALLED_APPS=["channels"],
    MIDDLEWARE=[],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of no use to anybody",
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


class Subscriber(AsyncWebsocketConsumer):
    group = None

    async def receive(self, text_data=None, bytes_data=None):
        message = json.loads(text_data)
        if message.get("type") != "subscribe" or self.group is not None:
            await self.send(text_data='{"code":"error"}')
            return
        self.group = f"room.{message['room']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.send(text_data='{"code":"success"}')

    async def disconnect(self, code):
        if self.group is not None:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def room_message(self, event):
        await self.send(text_data=event["text"])


async def publish(request):
    group = f"room.{request.GET['room']}"
    message = {"type": "room.message", "text": request.body.decode()}
    await get_channel_layer().group_send(group, message)
    return HttpResponse(headers={"Content-Length": "0"})


urlpatterns = [path("publish/", publish)]

application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AllowedHostsOriginValidator(
            URLRouter([path("ws/", Subscriber.as_asgi())])
        ),
    }
)
