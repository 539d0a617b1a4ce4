"""A Django application that uses what real ones use: forms, uploads, cookies, files, streams, errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import condition, require_POST

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="functional-tests",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.gzip.GZipMiddleware"],
    LOGGING_CONFIG=None,
)


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Grüße aus Django\n", content_type="text/plain; charset=utf-8")


def hello(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse({"name": name, "arguments": dict(request.GET.lists())})


@require_POST
def form(request: HttpRequest) -> JsonResponse:
    return JsonResponse(dict(request.POST.lists()))


def echo_json(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"method": request.method, "json": json.loads(request.body)})


def upload(request: HttpRequest) -> JsonResponse:
    answer = []
    for file in request.FILES.getlist("file"):
        digest = hashlib.sha256()
        for block in file.chunks():
            digest.update(block)
        answer.append({"name": file.name, "size": file.size, "sha256": digest.hexdigest()})
    return JsonResponse(answer, safe=False)


def raw(request: HttpRequest) -> JsonResponse:
    digest, size = hashlib.sha256(), 0
    while block := request.read(65536):
        digest.update(block)
        size += len(block)
    length = request.META.get("CONTENT_LENGTH")
    return JsonResponse({"size": size, "sha256": digest.hexdigest(), "content_length": int(length)})


def cookies(request: HttpRequest) -> JsonResponse:
    answer = JsonResponse(request.COOKIES)
    answer.set_cookie("first", "1")
    answer.set_cookie("second", "2", httponly=True, path="/cookies")
    return answer


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def blocks() -> Iterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    return StreamingHttpResponse(blocks(), content_type="text/plain")


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(__file__).open("rb"), content_type="text/x-python")


@condition(etag_func=lambda request: '"one"')
def tagged(request: HttpRequest) -> HttpResponse:
    return HttpResponse("tagged")


def fails(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError("on purpose")


urlpatterns = [
    path("", index),
    path("hello/<str:name>", hello),
    path("form", form),
    path("json", echo_json),
    path("upload", upload),
    path("raw", raw),
    path("cookies", cookies),
    path("stream", stream),
    path("file", file),
    path("tagged", tagged),
    path("fails", fails),
]

application = get_wsgi_application()
