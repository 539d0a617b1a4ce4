"""A small Flask application: a route with a converter, and a query argument."""

from __future__ import annotations

from flask import Flask, request
from flask.wrappers import Response

app = Flask(__name__)
ORDERS = {"name": "name", "price": "price, lowest first", "size": "size"}


@app.get("/wheels/<int:number>")
def wheel(number: int) -> Response:
    order = ORDERS.get(request.args.get("sort", ""), "name")
    page = f"<!doctype html>\n<title>Wheel {number}</title>\n<p>Wheel {number}, by {order}</p>\n"
    return Response(page, headers={"Cache-Control": "private, max-age=0"}, mimetype="text/html")
