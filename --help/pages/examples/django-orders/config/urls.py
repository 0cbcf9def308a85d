"""The site's addresses, and under ``api/`` those that the gateway calls."""

from django.contrib.auth.views import LogoutView
from django.urls import include
from django.urls import path

from orders import views

urlpatterns = [
    path("", views.board, name="board"),
    path("orders/", views.place, name="place"),
    path("orders/<int:pk>/advance/", views.advance, name="advance"),
    path("chat/", views.say, name="say"),
    path("sign-in/", views.SignIn.as_view(), name="login"),
    path("sign-out/", LogoutView.as_view(), name="logout"),
    path("api/", include("high_templar.django.urls")),
]
