"""A Flask application.  Needs `pip install flask`.

headrace examples/flask_app.py
curl http://127.0.0.1:8000/hello/you
curl -d name=you http://127.0.0.1:8000/greet
"""

from __future__ import annotations

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return "Hello from Flask\n"


@app.get("/hello/<name>")
def hello(name: str) -> dict[str, str]:
    return {"hello": name}


@app.post("/greet")
def greet() -> str:
    return f"Hello {request.form['name']}\n"
