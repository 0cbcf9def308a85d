"""Where everything is."""

from django.urls import path

from shop import views

urlpatterns = [
    path("api/bootstrap/", views.bootstrap),
    path("api/user/login/", views.login),
    path("api/user/online/", views.online),
    path("api/user/notify_online/", views.notify_online),
    path("api/user/notify_offline/", views.notify_offline),
    path("api/order/", views.order),
]
