"""The Python high-templar in one process, as its deployments run it: hypercorn, RabbitMQ."""

import asyncio
import logging
import os
import sys
from importlib.metadata import version
from urllib.parse import urlsplit

from high_templar.main import create_app
from hypercorn.asyncio import serve
from hypercorn.config import Config

if sys.argv[1:] == ["--version"]:
    packages = ("high_templar", "quart", "werkzeug", "hypercorn", "aiohttp")
    print(*(f"{package} {version(package)}" for package in packages), sep=", ")
    sys.exit()

rabbitmq = urlsplit(os.environ["RABBITMQ_URL"])


class Settings:
    API_URL = os.environ["API_URL"]
    RABBITMQ = {
        "enabled": True,
        "exchange_name": "hightemplar",
        "username": rabbitmq.username,
        "password": rabbitmq.password,
        "host": f"{rabbitmq.hostname}:{rabbitmq.port}",
    }


app = create_app(Settings)
# It logs each message at the level of debugging: nobody runs it so.
app.logger.setLevel(logging.WARNING)

config = Config()
config.bind = [os.environ["HOST"]]
config.backlog = 4096
config.accesslog = None
asyncio.run(serve(app, config))
