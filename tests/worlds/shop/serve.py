"""Serves the shop with Django's own development server, on three doors.

Prints one line of JSON when it serves: the port of plain HTTP, and the port of a door whose
requests came over TLS, which something before it has taken off, as in most deployments. The third
is a unix socket. The database is made on the first start. The end of its input is its end.

    python -m shop.serve DATABASE UNIX_SOCKET [PORT]
"""

import json
import os
import socketserver
import sys
import threading
from socket import AF_UNIX

import django
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer
from django.core.servers.basehttp import WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

USERS = {"anna": False, "ben": False, "sam": True}


class Handler(WSGIRequestHandler):
    """Keeps quiet, and knows that the peer of a unix socket has no address."""

    def setup(self):
        self.client_address = self.client_address or ("local", 0)
        super().setup()

    def log_message(self, *args):
        pass


class UnixServer(ThreadedWSGIServer):
    """Django's server on a unix socket."""

    address_family = AF_UNIX

    def __init__(self, path):
        super().__init__(path, Handler)

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 80
        self.setup_environ()


def make_database():
    """Tables, and users whose password and token are their names."""
    from django.contrib.auth.models import User

    from shop.models import Token

    call_command("migrate", run_syncdb=True, verbosity=0)
    for name, is_staff in USERS.items():
        user = User.objects.create_user(name, password=name, is_staff=is_staff)
        Token.objects.create(user=user, key=f"token-of-{name}")


def main():
    database, path, *port = sys.argv[1:]
    is_new = not os.path.exists(database)
    os.environ["SHOP_DATABASE"] = database
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    django.setup()
    if is_new:
        make_database()
    application = get_wsgi_application()
    if os.path.exists(path):
        os.unlink(path)
    port = int(port[0]) if port else 0
    http, https = (ThreadedWSGIServer(("127.0.0.1", port), Handler) for port in (port, 0))
    unix = UnixServer(path)
    for server in (https, unix):
        server.base_environ["HTTPS"] = "on"
    for server in (http, https, unix):
        server.daemon_threads = True
        server.set_app(application)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"http": http.server_port, "https": https.server_port}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
