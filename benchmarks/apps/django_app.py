"""A small Django application: a middleware, a URL converter, and a query argument."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    DEBUG=False,
    SECRET_KEY="only-for-the-benchmark",
    ALLOWED_HOSTS=["mill.example"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()

ORDERS = {"name": "name", "price": "price, lowest first", "size": "size"}


def wheel(request: HttpRequest, number: int) -> HttpResponse:
    order = ORDERS.get(request.GET.get("sort", ""), "name")
    page = f"<!doctype html>\n<title>Wheel {number}</title>\n<p>Wheel {number}, by {order}</p>\n"
    return HttpResponse(page, headers={"Cache-Control": "private, max-age=0"})


urlpatterns = [path("wheels/<int:number>", wheel)]
app = get_wsgi_application()
