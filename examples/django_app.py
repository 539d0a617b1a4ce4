"""A Django application in a single file.  Needs `pip install django`.

headrace examples/django_app.py
curl "http://127.0.0.1:8000/hello?name=you"
"""

from __future__ import annotations

import secrets

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost", "[::1]"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_hex(32),  # a real site keeps one
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Hello from Django {django.get_version()}\n", content_type="text/plain")


def hello(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"hello": request.GET.get("name", "world")})


urlpatterns = [path("", index), path("hello", hello)]

application = get_wsgi_application()
