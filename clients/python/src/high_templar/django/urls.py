"""The addresses that the gateway calls.

``path("api/", include("high_templar.django.urls"))`` makes ``api/bootstrap/`` and the hooks
``api/hooks/connect/``, ``api/hooks/ping/`` and ``api/hooks/disconnect/``.
"""

from __future__ import annotations

from django.urls import path

from high_templar.django.views import HookView
from high_templar.django.views import bootstrap

app_name = "high_templar"

urlpatterns = [
    path("bootstrap/", bootstrap, name="bootstrap"),
    path("hooks/connect/", HookView.as_view(event="connect"), name="connect"),
    path("hooks/ping/", HookView.as_view(event="ping"), name="ping"),
    path("hooks/disconnect/", HookView.as_view(event="disconnect"), name="disconnect"),
]
