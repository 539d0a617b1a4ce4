"""A Flask application that uses what real ones use: forms, uploads, cookies, sessions, files, streams, errors."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, jsonify, redirect, request, send_file, session, url_for

app = Flask(__name__)
app.secret_key = "functional-tests"


@app.get("/")
def index() -> str:
    return "Grüße aus Flask\n"


@app.get("/hello/<name>")
def hello(name: str) -> dict[str, Any]:
    return {"name": name, "arguments": request.args.to_dict(flat=False)}


@app.post("/form")
def form() -> dict[str, Any]:
    return request.form.to_dict(flat=False)


@app.route("/json", methods=["POST", "PUT", "PATCH"])
def echo_json() -> Response:
    return jsonify(method=request.method, json=request.get_json())


@app.post("/upload")
def upload() -> list[dict[str, Any]]:
    answer = []
    for file in request.files.getlist("file"):
        content = file.read()
        digest = hashlib.sha256(content).hexdigest()
        answer.append({"name": file.filename, "size": len(content), "sha256": digest})
    return answer


@app.put("/raw")
def raw() -> dict[str, Any]:
    content = request.get_data()
    return {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_length": request.content_length,
        "transfer_encoding": request.headers.get("Transfer-Encoding"),
    }


@app.get("/cookies")
def cookies() -> Response:
    answer = jsonify(request.cookies)
    answer.set_cookie("first", "1")
    answer.set_cookie("second", "2", httponly=True, path="/cookies")
    return answer


@app.get("/count")
def count() -> str:
    session["count"] = session.get("count", 0) + 1
    return str(session["count"])


@app.get("/elsewhere")
def elsewhere() -> Any:
    return redirect(url_for("hello", name="redirected"))


@app.get("/stream")
def stream() -> Response:
    def blocks() -> Iterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    return Response(blocks(), mimetype="text/plain")


@app.get("/file")
def file() -> Response:
    return send_file(Path(__file__), mimetype="text/x-python", conditional=True)


@app.get("/memory-file")
def memory_file() -> Response:
    return send_file(io.BytesIO(b"from memory" * 10_000), mimetype="application/octet-stream")


@app.delete("/thing")
def delete() -> tuple[str, int]:
    return "", 204


@app.get("/teapot")
def teapot() -> None:
    abort(418)


@app.get("/fails")
def fails() -> None:
    raise ZeroDivisionError("on purpose")


@app.get("/where")
def where() -> dict[str, Any]:
    return {"url": request.url, "remote_addr": request.remote_addr, "scheme": request.scheme, "path": request.path}
