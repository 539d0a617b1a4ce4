"""A small Flask application: a route with a converter, a query argument, a cookie and a Jinja template."""

from __future__ import annotations

from flask import Flask, render_template_string, request
from flask.wrappers import Response

app = Flask(__name__)

PAGE = """<!doctype html>
<title>Wheel {{ number }}</title>
<h1>Wheel {{ number }}</h1>
<p>Seen by {{ user }}, sorted by {{ sort }}</p>
<ul>{% for part in parts %}<li>{{ part }}</li>{% endfor %}</ul>
"""
PARTS = ["hub", "spoke", "rim", "bucket"]


@app.get("/wheels/<int:number>")
def wheel(number: int) -> Response:
    page = render_template_string(
        PAGE,
        number=number,
        user=request.cookies.get("user", "nobody"),
        sort=request.args.get("sort", "name"),
        parts=PARTS,
    )
    return Response(page, headers={"Cache-Control": "private, max-age=0"}, mimetype="text/html")
