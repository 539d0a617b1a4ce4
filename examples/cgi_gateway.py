"""An application as a CGI program: a web server starts it anew for each request.

Make the file executable, with the Python that has Headrace in its first line (#!/srv/venv/bin/python), and let the web
server start it. lighttpd:

    server.modules += ("mod_cgi")
    $HTTP["url"] =~ "^/cgi-bin/" { cgi.assign = ("" => "") }

nginx does so with fcgiwrap:

    location ~ ^/cgi-bin/ {
        fastcgi_split_path_info ^(/cgi-bin/[^/]+)(.*)$;
        include fastcgi_params;
        fastcgi_param SCRIPT_FILENAME /srv$fastcgi_script_name;
        fastcgi_param PATH_INFO $fastcgi_path_info;
        fastcgi_pass unix:/run/fcgiwrap.socket;
    }

Without a web server, and the same application with one that keeps running:

    REQUEST_METHOD=GET QUERY_STRING=name=you python examples/cgi_gateway.py
    headrace examples/cgi_gateway.py
"""

from __future__ import annotations

from html import escape
from typing import Any
from urllib.parse import parse_qs

from headrace.gateway import run_with_cgi

PAGE = """<!DOCTYPE html>
<title>Greeting</title>
<p>Hello, {name}!</p>
<form method="post"><input name="name"><button>Greet</button></form>
"""


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["REQUEST_METHOD"] == "POST":
        form = environ["wsgi.input"].read(10_000).decode()  # ends where the body ends
    else:
        form = environ["QUERY_STRING"]
    name = parse_qs(form).get("name", ["stranger"])[0]
    environ["wsgi.errors"].write(f"greeted {name!r}\n")  # the web server's error log
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [PAGE.format(name=escape(name)).encode()]


if __name__ == "__main__":
    run_with_cgi(application)
