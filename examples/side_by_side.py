"""Two frameworks in one process: Flask under /, Django under /admin.  Needs `pip install flask django`.

headrace examples/side_by_side.py
curl http://127.0.0.1:8000/
curl http://127.0.0.1:8000/admin/users/7

Each makes its links from SCRIPT_NAME, so both know where they are without having been told.
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from flask import Flask, url_for

from headrace.middleware import Router

# -- Flask ------------------------------------------------------------------------------------------------------------

shop = Flask(__name__)


@shop.get("/")
def index() -> str:
    return f"Flask; an article is at {url_for('article', number=3)}\n"


@shop.get("/articles/<int:number>")
def article(number: int) -> str:
    return f"Flask: article {number}\n"


# -- Django -----------------------------------------------------------------------------------------------------------

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost", "[::1]"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_hex(32),  # a real site keeps one
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)


def users(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Django; a user is at {reverse('user', args=[7])}\n", content_type="text/plain")


def user(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse(f"Django: user {number}\n", content_type="text/plain")


urlpatterns = [path("", users), path("users/<int:number>", user, name="user")]

# -- both -------------------------------------------------------------------------------------------------------------

application = Router()
application.mount("/", shop)
application.mount("/admin", get_wsgi_application())
