"""A small Django application: two of the usual middlewares, a URL converter, a query argument, a cookie."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.html import format_html, format_html_join

settings.configure(
    DEBUG=False,
    SECRET_KEY="only-for-the-benchmark",
    ALLOWED_HOSTS=["mill.example"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
)
django.setup()

PARTS = ["hub", "spoke", "rim", "bucket"]


def wheel(request: HttpRequest, number: int) -> HttpResponse:
    page = format_html(
        "<!doctype html>\n<title>Wheel {}</title>\n<p>Seen by {}, sorted by {}</p>\n<ul>{}</ul>\n",
        number,
        request.COOKIES.get("user", "nobody"),
        request.GET.get("sort", "name"),
        format_html_join("", "<li>{}</li>", ((part,) for part in PARTS)),
    )
    return HttpResponse(page, headers={"Cache-Control": "private, max-age=0"})


urlpatterns = [path("wheels/<int:number>", wheel)]
app = get_wsgi_application()
