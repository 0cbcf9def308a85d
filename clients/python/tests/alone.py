"""The package in an empty environment: nothing but the standard library, and the binary."""

import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from urllib.request import ProxyHandler
from urllib.request import build_opener

import high_templar
from high_templar import Publisher
from high_templar.binary import find_binary
from high_templar.gateway import Gateway
from high_templar.testing import capture

assert not [name for name in sys.modules if name.split(".")[0] in ("django", "pika", "pytest")]
shown = subprocess.run([find_binary(), "--version"], capture_output=True, text=True, check=True)
assert shown.stdout == f"high-templar {high_templar.__version__}\n"
assert version("high-templar") == high_templar.__version__
with Gateway("http://127.0.0.1:1/") as gateway, Publisher(gateway.internal_url) as publisher:
    assert publisher.publish({"target": "news"}, {"id": 1}).position == 1
with capture() as published:
    publisher.publish({"target": "news"}, 1)
published.assert_published({"target": "news"}, 1)
try:
    Publisher("amqp://127.0.0.1/")
except ImportError as error:
    assert "high-templar[rabbitmq]" in str(error)  # noqa: PT017
else:
    raise AssertionError("pika is here")

# The demo is in the wheel, and serves the JavaScript client that the Django app ships.
ports = [f"--{name}-port=0" for name in ("page", "backend", "internal", "gateway")]
demo = [find_binary(), "demo", *ports]
with subprocess.Popen(demo, stdout=subprocess.PIPE, text=True) as process:
    try:
        page = next(line for line in map(str.strip, process.stdout or ()) if "http://" in line)
        with build_opener(ProxyHandler({})).open(f"{page}client.js", timeout=20) as response:
            served = response.read()
    finally:
        process.terminate()
shipped = files("high_templar") / "django" / "static" / "high_templar" / "client.js"
assert served == shipped.read_bytes()
