"""environ as wsgiref's WSGIRequestHandler.get_environ() makes it, from field lines instead of a message."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from headrace.dropin.request_handler import Request, key_of

#: Keys of field names are remembered, up to so many.
_NAMES_MAX = 512


class Environs:
    """Makes the environs of one server.  Keys in the standard library's order."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.software: str = server.RequestHandlerClass.server_version
        self.keys: dict[str, str | None] = {}

    def make(self, request: Request, address_string: str) -> dict[str, Any]:
        """address_string: the handler's word for the client, which is REMOTE_HOST where it is no address."""
        environ: dict[str, Any] = self.server.base_environ.copy()
        environ["SERVER_PROTOCOL"] = request.request_version
        environ["SERVER_SOFTWARE"] = self.software
        environ["REQUEST_METHOD"] = request.command
        path, _, query = request.path.partition("?")
        environ["PATH_INFO"] = unquote(path, "iso-8859-1") if "%" in path else path
        environ["QUERY_STRING"] = query
        address = request.address[0]
        if address_string != address:
            environ["REMOTE_HOST"] = address_string
        environ["REMOTE_ADDR"] = address
        self.add_fields(request, environ)
        return environ

    def add_fields(self, request: Request, environ: dict[str, Any]) -> None:
        """CONTENT_TYPE, CONTENT_LENGTH and HTTP_*."""
        fields = self.fields_of(request.lines)
        content_type = "text/plain"
        content_length = ""
        for key, value in reversed(fields):  # the first of several counts
            if key == "CONTENT_TYPE":
                content_type = value
            elif key == "CONTENT_LENGTH":
                content_length = value
        environ["CONTENT_TYPE"] = content_type
        if content_length:
            environ["CONTENT_LENGTH"] = content_length
        for key, value in fields:
            if key in environ:
                continue  # what the server says of itself is no client's to change
            name = "HTTP_" + key
            if name in environ:
                environ[name] += "," + value.strip()
            else:
                environ[name] = value.strip()

    def fields_of(self, lines: list[str]) -> list[tuple[str, str]]:
        """Of each field line its key, without HTTP_, and its value; fields that are left out have none."""
        fields = []
        keys = self.keys
        for line in lines:
            name, _, value = line.partition(":")
            try:
                key = keys[name]
            except KeyError:
                key = key_of(name)
                if len(keys) < _NAMES_MAX:
                    keys[name] = key
            if key is not None:
                fields.append((key, value.lstrip(" \t")))
        return fields
