"""What sites get wrong, for the checks to find."""

from django.http import HttpResponse
from django.http import HttpResponseRedirect
from django.http import JsonResponse
from django.urls import include
from django.urls import path


class EverybodySignsIn:
    """A site's own idea of requiring a login, which knows nothing of exceptions."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if not request.user.is_authenticated:
            return HttpResponseRedirect("/login/")
        return self.get_response(request)


class CachedUrls:
    def __init__(self):
        self.app_name = "high_templar"
        view = path("bootstrap/", lambda _: JsonResponse({"allowed_rooms": []}), name="bootstrap")
        self.urlpatterns = [path("api/", include(([view], "high_templar")))]


def page(request, path=""):
    return HttpResponse("<!doctype html>")


class CatchAllUrls:
    def __init__(self):
        kit = path("api/", include("high_templar.django.urls"))
        self.urlpatterns = [path("<path:path>", page), kit]
