"""The tenant `tea`: a Django site in one file, with an API for the gateway.

PORT and KEY come from ../run: KEY is the tenant's own key, with which it publishes.
"""

import json
import os
import sys
import urllib.request
from pathlib import Path

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import FileResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import path
from django.views.decorators.csrf import ensure_csrf_cookie

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parents[2] / "clients/python/src/high_templar/django/static/high_templar/client.js"

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for the example"),
    ALLOWED_HOSTS=["tea.localhost", "127.0.0.1"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
)
django.setup()

items = []


def publish(rooms, data):
    """Send one trigger: the gateway knows by the key that it is this tenant's."""
    request = urllib.request.Request(
        os.environ["TRIGGER_URL"],
        data=json.dumps({"rooms": rooms, "data": data}).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {os.environ['KEY']}",
        },
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        response.read()


def bootstrap(request):
    """The gateway calls this for each page that connects: everybody may see the items."""
    response = JsonResponse({"user": {"id": 1}, "allowed_rooms": [{"target": "items"}]})
    response["Cache-Control"] = "private, no-store"
    return response


def items_view(request):
    if request.method == "GET":
        return JsonResponse(items, safe=False)
    if request.method != "POST":
        return HttpResponseNotAllowed(["GET", "POST"])
    item = {"id": len(items) + 1, "text": str(json.loads(request.body)["text"])[:200]}
    items.append(item)
    try:
        publish([{"target": "items"}], item)
    except OSError as error:
        # The item is there: pages show it once they load again.
        print(f"not published: {error}", file=sys.stderr)
    return JsonResponse(item, status=201)


@ensure_csrf_cookie
def page(request):
    return FileResponse(open(HERE.parent / "page.html", "rb"), content_type="text/html")


def client(request):
    return FileResponse(open(CLIENT, "rb"), content_type="text/javascript")


urlpatterns = [
    path("", page),
    path("client.js", client),
    path("items/", items_view),
    path("api/bootstrap/", bootstrap),
]

if __name__ == "__main__":
    execute_from_command_line(["site.py", "runserver", "--noreload", f"127.0.0.1:{os.environ['PORT']}"])
