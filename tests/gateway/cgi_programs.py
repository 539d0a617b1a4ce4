"""Programs for the CGI tests, and the request that they get."""

from __future__ import annotations

REQUEST = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "/cgi-bin/program",
    "PATH_INFO": "/path",
    "QUERY_STRING": "a=b",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
}

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
run_with_cgi(application)
"""

#: Answers with what it found in environ: strings as they are, of other things whether they are there.
ENVIRON = """
import json
def application(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({key: value if type(value) in (str, bool, tuple) else True
                        for key, value in environ.items()}).encode()]
run_with_cgi(application)
"""


def answering(status="200 OK", headers=(), result="[b'12345']"):
    return f"""
    def application(environ, start_response):
        start_response({status!r}, {list(headers)!r})
        return {result}
    run_with_cgi(application)
    """
