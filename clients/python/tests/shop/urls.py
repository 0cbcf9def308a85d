"""Where everything is."""

from django.http import JsonResponse
from django.urls import include
from django.urls import path

from shop.models import Order


def order(request):
    return JsonResponse({"id": Order.objects.create(customer=request.GET["customer"]).pk})


urlpatterns = [
    path("api/", include("high_templar.django.urls")),
    path("order/", order),
]
