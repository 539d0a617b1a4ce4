"""PEP 3333, "environ Variables" and "URL Reconstruction"; RFC 3875 §4.1 for the CGI variables."""

from __future__ import annotations

import os
import random
import socket
import wsgiref.util

import pytest
from wire import chunked, request

# -- the dictionary ---------------------------------------------------------------------------------------------------


def test_environ_is_a_plain_dict(environ_of):
    assert type(environ_of()) is dict


def test_nothing_of_the_process_environment_gets_in(environ_of, monkeypatch):
    monkeypatch.setenv("HEADRACE_SECRET", "secret")
    monkeypatch.setenv("HTTP_SECRET", "secret")
    environ = environ_of()
    assert "secret" not in environ.values()
    assert not set(os.environ) & set(environ)


def test_environ_has_no_other_keys_than_those_of_the_documentation(environ_of):
    assert set(environ_of(request("/", host="h"))) == {
        "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "RAW_URI", "REQUEST_URI", "SERVER_NAME",
        "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE", "GATEWAY_INTERFACE", "REMOTE_ADDR", "REMOTE_PORT",
        "HTTP_HOST", "wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors", "wsgi.multithread",
        "wsgi.multiprocess", "wsgi.run_once", "wsgi.file_wrapper", "wsgi.input_terminated", "wsgi.early_hints",
        "headrace.client_disconnected",
    }  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"unix": True}], ids=["tcp", "unix"])
def test_every_cgi_variable_is_a_native_string(environ_of, settings):
    message = request(
        "/p%20q?a=b",
        method="PUT",
        fields=[("X-One", "1"), ("Content-Type", "text/plain"), ("Cookie", "a=b")],
        body=b"x",
    )
    environ = environ_of(message, **settings)
    for key, value in environ.items():
        assert type(key) is str
        if "." not in key:
            assert type(value) is str, key


# -- the request line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PROPFIND", "get", "x-Mixed_Case!", "M" * 40])
def test_request_method_is_what_was_sent_in_its_case(environ_of, method):
    assert environ_of(request(method=method))["REQUEST_METHOD"] == method


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/b", "/a/b", ""),
        ("/a?", "/a", ""),
        ("/a?b", "/a", "b"),
        ("/a?b=c&d=%20+?/", "/a", "b=c&d=%20+?/"),
        ("/a%20b", "/a b", ""),
        ("/a%2Fb", "/a/b", ""),
        ("/a%2fb%3Fc?d", "/a/b?c", "d"),
        ("/%41%7e", "/A~", ""),
        ("/%25%32%35", "/%25", ""),
        ("/a+b", "/a+b", ""),
        ("//a//b", "//a//b", ""),
        ("/a/../b/./c", "/a/../b/./c", ""),
        ("/a;b=c", "/a;b=c", ""),
        ("/%C3%A9", "/\xc3\xa9", ""),
        ("/%E9%ff", "/\xe9\xff", ""),
        ("/%e2%82%ac?%e2%82%ac", "/\xe2\x82\xac", "%e2%82%ac"),
        ("http://example.com", "/", ""),
        ("http://example.com/", "/", ""),
        ("http://example.com/a%20b?c", "/a b", "c"),
        ("http://example.com?c=d", "/", "c=d"),
        ("HTTP://example.com:80/a", "/a", ""),
        ("/http://example.com/", "/http://example.com/", ""),
    ],
)
def test_path_info_is_decoded_to_latin_1_and_query_string_is_left_alone(environ_of, target, path, query):
    environ = environ_of(request(target))
    assert environ["PATH_INFO"] == path
    assert environ["QUERY_STRING"] == query
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == target


def test_path_info_of_the_asterisk_form_is_the_root(environ_of):
    environ = environ_of(request("*", method="OPTIONS"))
    assert environ["PATH_INFO"] == "/"
    assert environ["QUERY_STRING"] == ""
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == "*"


def test_script_name_is_empty_because_applications_live_at_the_root(environ_of):
    assert environ_of()["SCRIPT_NAME"] == ""


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_server_protocol_is_the_version_of_the_request(environ_of, version):
    assert environ_of(request(version=version))["SERVER_PROTOCOL"] == f"HTTP/{version}"


# -- server and client ------------------------------------------------------------------------------------------------


def test_server_and_client_addresses_are_those_of_the_sockets(serve):
    running = serve(no_content)
    client = running.connect()
    client.exchange(request())
    host, port = client.sock.getsockname()
    environ = running.environs[0]
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(port))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(running.port))


def test_server_name_and_port_are_not_empty_on_a_unix_socket(environ_of):
    environ = environ_of(unix=True)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("", "")


def test_server_name_is_the_name_of_the_machine_when_all_addresses_are_served(environ_of):
    assert environ_of(bind="0.0.0.0:0")["SERVER_NAME"] == socket.gethostname()


def test_server_software_and_gateway_interface_are_given(environ_of):
    environ = environ_of()
    assert environ["SERVER_SOFTWARE"].startswith("headrace")
    assert environ["GATEWAY_INTERFACE"] == "CGI/1.1"


@pytest.mark.parametrize(
    ("target", "host", "url"),
    [
        ("/a%20b?c=d", "example.com", "http://example.com/a%20b?c=d"),
        ("/", "example.com:8080", "http://example.com:8080/"),
        ("http://other.example/x", "example.com", "http://other.example/x"),
        ("/%E9", "example.com", "http://example.com/%E9"),
    ],
)
def test_the_url_can_be_reconstructed(environ_of, target, host, url):
    assert wsgiref.util.request_uri(environ_of(request(target, host=host))) == url


# -- wsgi.* -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("wsgi.version", (1, 0)),
        ("wsgi.url_scheme", "http"),
        ("wsgi.multiprocess", False),
        ("wsgi.run_once", False),
        ("wsgi.input_terminated", True),
    ],
)
def test_wsgi_variables_that_say_something_of_the_server(environ_of, key, value):
    found = environ_of()[key]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("threads", "multithread"), [(1, False), (2, True), (8, True)])
def test_multithread_says_whether_another_thread_may_run_the_application_meanwhile(environ_of, threads, multithread):
    assert environ_of(threads=threads)["wsgi.multithread"] is multithread


def test_wsgi_objects_have_the_methods_of_the_specification(environ_of):
    environ = environ_of()
    for name in ("read", "readline", "readlines", "__iter__"):
        assert callable(getattr(environ["wsgi.input"], name))
    for name in ("write", "writelines", "flush"):
        assert callable(getattr(environ["wsgi.errors"], name))
    assert callable(environ["wsgi.file_wrapper"])
    assert callable(environ["wsgi.early_hints"])


# -- fields -----------------------------------------------------------------------------------------------------------


def http_fields(environ):
    return {
        key: value for key, value in environ.items() if key.startswith(("HTTP_", "CONTENT_")) and key != "HTTP_HOST"
    }


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ([("X-One", "1")], {"HTTP_X_ONE": "1"}),
        ([("x-oNe", "1")], {"HTTP_X_ONE": "1"}),
        ([("X", "")], {"HTTP_X": ""}),
        ([("X", "a b\tc")], {"HTTP_X": "a b\tc"}),
        ([("X.y~z!", "1")], {"HTTP_X.Y~Z!": "1"}),
        ([("X-" + "n" * 100, "1")], {"HTTP_X_" + "N" * 100: "1"}),
        ([("X", "\xe9\xff\x80")], {"HTTP_X": "\xe9\xff\x80"}),
        ([("Content-Type", "text/plain")], {"CONTENT_TYPE": "text/plain"}),
        ([("content-type", "")], {"CONTENT_TYPE": ""}),
        ([("Content-Typ", "a"), ("Content-Types", "b")], {"HTTP_CONTENT_TYP": "a", "HTTP_CONTENT_TYPES": "b"}),
        ([("Content", "a"), ("Content-Lengt", "b")], {"HTTP_CONTENT": "a", "HTTP_CONTENT_LENGT": "b"}),
        ([("Content-Length", "0")], {"CONTENT_LENGTH": "0"}),
        ([("Authorization", "Basic eDp5")], {"HTTP_AUTHORIZATION": "Basic eDp5"}),
        ([("Upgrade", "h2c"), ("Connection", "Upgrade")], {"HTTP_UPGRADE": "h2c", "HTTP_CONNECTION": "Upgrade"}),
    ],
)
def test_a_field_becomes_one_variable(environ_of, fields, want):
    assert http_fields(environ_of(request(fields=fields))) == want


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ([("X", "1"), ("X", "1")], {"HTTP_X": "1,1"}),
        ([("X", ""), ("X", "")], {"HTTP_X": ","}),
        ([("X", "a"), ("Y", "b"), ("x", "c"), ("X", "d")], {"HTTP_X": "a,c,d", "HTTP_Y": "b"}),
        ([("X", "a, b"), ("X", "c")], {"HTTP_X": "a, b,c"}),
        ([("Cookie", "a=1"), ("cookie", "b=2"), ("Cookie", "c=3")], {"HTTP_COOKIE": "a=1; b=2; c=3"}),
        ([("Cookie", "1"), ("Cookie", "1")], {"HTTP_COOKIE": "1; 1"}),
        ([("X", "\xe9"), ("X", "\xe9")], {"HTTP_X": "\xe9,\xe9"}),
        ([("X", str(n)) for n in range(50)], {"HTTP_X": ",".join(map(str, range(50)))}),
    ],
)
def test_repeated_fields_are_joined_in_their_order(environ_of, fields, want):
    assert http_fields(environ_of(request(fields=fields))) == want


@pytest.mark.parametrize(
    "name", ["X_One", "Content_Length", "Content_Type", "_", "X-Forwarded_For", "Transfer_Encoding", "CONTENT_LENGTH"]
)
def test_a_name_with_an_underscore_is_dropped_because_it_could_forge_one_with_a_dash(environ_of, name):
    assert http_fields(environ_of(request(fields=[(name, "5"), ("X-Real", "1")]))) == {"HTTP_X_REAL": "1"}


@pytest.mark.parametrize("name", ["Proxy", "proxy", "PROXY"])
def test_proxy_is_dropped_because_it_would_become_the_http_proxy_of_programs(environ_of, name):
    assert http_fields(environ_of(request(fields=[(name, "http://evil/"), ("Proxy-X", "1")]))) == {"HTTP_PROXY_X": "1"}


@pytest.mark.parametrize("target", ["http://target.example/", "http://target.example", "http://target.example?q"])
def test_host_is_the_authority_of_an_absolute_target(environ_of, target):
    assert environ_of(request(target, host="field.example"))["HTTP_HOST"] == "target.example"
    assert environ_of(request(target, host="field.example", version="1.0"))["HTTP_HOST"] == "target.example"


def test_host_of_an_absolute_target_is_given_without_the_field_too(environ_of):
    assert environ_of(request("http://target.example/", host=None, version="1.0"))["HTTP_HOST"] == "target.example"


def test_there_is_no_host_when_an_old_client_sends_none(environ_of):
    assert "HTTP_HOST" not in environ_of(request(version="1.0", host=None))


# -- the body's variables ---------------------------------------------------------------------------------------------


def test_content_type_and_content_length_are_absent_when_not_sent(environ_of):
    assert http_fields(environ_of(request(method="POST"))) == {}


@pytest.mark.parametrize("settings", [{}, {"request_body_memory": 0}, {"stream_request_body": True}])
def test_content_length_is_given_as_sent(environ_of, settings):
    message = request(method="POST", fields=[("Content-Length", "005")], body=b"12345")
    assert http_fields(environ_of(message, **settings)) == {"CONTENT_LENGTH": "005"}


@pytest.mark.parametrize("settings", [{}, {"request_body_memory": 0}])
@pytest.mark.parametrize("blocks", [(), (b"12345",), (b"1", b"2" * 20, b"345")])
def test_content_length_of_a_chunked_body_is_counted_and_transfer_encoding_is_gone(environ_of, blocks, settings):
    message = request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + chunked(
        *blocks, trailer=b"X-T: 1\r\n"
    )
    assert http_fields(environ_of(message, **settings)) == {"CONTENT_LENGTH": str(len(b"".join(blocks)))}


def test_content_length_of_a_chunked_body_that_is_streamed_is_absent_and_transfer_encoding_is_gone(environ_of):
    message = request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + chunked(b"12345")
    assert http_fields(environ_of(message, stream_request_body=True)) == {}


# -- one connection, many requests ------------------------------------------------------------------------------------


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


SAME = [("User-Agent", "t"), ("Accept", "*/*"), ("Cookie", "a=b"), ("Cookie", "c=d")]
HEADS = [
    request("/", fields=SAME),
    request("/", fields=SAME, version="1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"),
    request("/", fields=[*SAME, ("Connection", "keep-alive")]),
    request("/other?with=query", fields=SAME),
    request("/%41?x", fields=SAME),
    request("/", fields=SAME, method="HEAD"),
    request("/", fields=SAME, method="DELETE"),
    request("http://absolute.example/", fields=SAME),
    request("*", fields=SAME, method="OPTIONS"),
    request("/", fields=SAME, host="other.example"),
    request("/", fields=SAME[::-1]),
    request("/", fields=[("X", "1"), ("X", "1")]),
    request("/", fields=[("X-Long", "l" * 5000)]),
    request("/", fields=[("X-Long", "l" * 5000)], method="PUT"),
    request("/", fields=[*SAME, ("Content-Length", "0")]),
    request("/", fields=SAME, method="POST", body=b"twelve bytes"),
    request("/", fields=SAME, method="POST", body=b"five!"),
    request("/", fields=[*SAME, ("Transfer-Encoding", "chunked")], method="POST") + chunked(b"five!"),
    request("/", fields=[*SAME, ("Transfer-Encoding", "chunked")], method="POST") + chunked(b"twelve", b" bytes"),
    request("/", fields=[("proxy", "x"), ("a_b", "y")]),
]  # fmt: skip


def replace_everything(environ):
    for key in list(environ):
        environ[key] = "changed"
    environ["application.key"] = "added"


def remove_everything(environ):
    environ.clear()


def change_nothing(environ):
    pass


@pytest.mark.parametrize("change", [replace_everything, remove_everything, change_nothing])
@pytest.mark.parametrize("seed", range(3))
def test_each_request_of_a_connection_gets_what_it_would_get_alone(serve, seed, change):
    environs = []

    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        strings = {key: value for key, value in environ.items() if not key.startswith(("wsgi.", "headrace."))}
        environs.append((strings, body))
        change(environ)
        return no_content(environ, start_response)

    running = serve(application)
    alone = {}
    for head in HEADS:
        running.exchange(head)
        alone[head] = environs.pop()
        assert alone[head][0].pop("REMOTE_PORT")
    # Runs of one head, because it is the same head again, or the same fields, that is served from memory.
    chance = random.Random(seed)
    sequence = [head for _ in range(60) for head in [chance.choice(HEADS)] * chance.randint(1, 3)]
    client = running.connect()
    for head in sequence:
        client.exchange(head)
    assert len(environs) == len(sequence)
    for head, (environ, body) in zip(sequence, environs, strict=True):
        assert environ.pop("REMOTE_PORT") == str(client.witness.port)
        assert (environ, body) == alone[head]


@pytest.mark.parametrize("head", HEADS)
def test_a_request_is_served_the_same_after_itself_and_after_its_neighbour(serve, head):
    """Pairs in one segment, so that the second head is looked at in the same buffer."""
    environs = []

    def application(environ, start_response):
        environs.append({key: value for key, value in environ.items() if not key.startswith(("wsgi.", "headrace."))})
        return no_content(environ, start_response)

    running = serve(application)
    neighbour = request("/neighbour", fields=SAME)
    client = running.connect()
    client.send(neighbour + head + head + neighbour)
    for _ in range(4):
        client.read_response("HEAD")
    assert environs[0] == environs[3]
    assert environs[1] == environs[2]
    assert environs[1]["RAW_URI"] != "/neighbour"


VALUES = ["", "a", "b", "ab", "ba", "\xe9", "v" * 50, "w" * 50, "1,2", "long " * 200 + "end"]
NAME_SETS = [
    ["User-Agent", "Cookie"],
    ["User-Agent", "Cookie", "X-A"],
    ["User-Agent", "Cookie", "X-B"],
    ["User-Agent", "cookie", "X-A"],
    ["User-Agent", "Cookie", "X-A", "Content-Type", "X_A", "Proxy"],
    ["User-Agent", "Cookie", "X-A", "Cookie"],
    ["X-A", "x-a"],
    ["X_A", "x_a", "Proxy", "proxy"],
    [],
]


def request_of_names(names, chance, with_body):
    """A request with these fields; what of it has to reach the application."""
    fields = [("Connection", "keep-alive"), *((name, chance.choice(VALUES)) for name in names)]
    body = chance.randbytes(chance.choice([0, 1, 12]))
    if with_body:
        fields.append(("Content-Length", str(len(body))))
    path, query = chance.choice(["/", "/a", "/%20"]), chance.choice(["", "x", "y=z"])
    target = chance.choice(["", "", "", "http://absolute.example"]) + path + ("?" + query if query else "")
    host, version = chance.choice(["a.example", "b.example", "c"]), chance.choice(["1.1", "1.1", "1.1", "1.0"])
    message = request(target, fields=fields, host=host, method=chance.choice(["GET", "PUT"]), version=version)
    return message + (body if with_body else b""), (path.replace("%20", " "), query, body if with_body else b"")


@pytest.mark.parametrize("seed", range(4))
def test_heads_of_the_same_names_and_other_values_are_all_read_anew(serve, seed):
    """The referee compares each environ with what llhttp reads; here path, query and body are looked at."""
    seen, sent, chance = [], [], random.Random(seed)

    def application(environ, start_response):
        seen.append((environ["PATH_INFO"], environ["QUERY_STRING"], environ["wsgi.input"].read()))
        environ.update(HTTP_COOKIE="changed", CONTENT_TYPE="changed", HTTP_X_A="changed", HTTP_NEW="added")
        return no_content(environ, start_response)

    running = serve(application)
    for _ in range(20):
        client = running.connect()
        with_body = chance.random() < 0.5
        for number in range(25):
            if number == 0 or chance.random() < 0.25:
                names = chance.choice(NAME_SETS)
            message, want = request_of_names(names, chance, with_body)
            for _ in range(chance.choice([1, 1, 2])):
                sent.append(want)
                client.send(message)
                assert client.read_response().status == 204
    assert seen == sent


def test_equal_fields_under_another_version_have_the_meaning_of_that_version(serve):
    """What the server remembers of a head must not outlive the version that gave it its meaning."""
    keep_alive = [("Connection", "keep-alive")]

    def pair(first, second):
        running = serve(no_content)
        client = running.connect()
        client.send(first * 3 + second)
        assert [client.read_response().status for _ in range(3)] == [204] * 3
        return client.read_response(), running.calls - 3, client

    # RFC 9112 §9.3: 1.0 persists only when it says so.
    answer, calls, client = pair(request(), request(version="1.0"))
    assert (answer.status, answer.says_close, calls) == (204, True, 1)
    client.assert_closed()
    # RFC 9112 §3.2: only 1.0 may go without Host.
    old = request(version="1.0", host=None, fields=keep_alive)
    answer, calls, client = pair(old, request(host=None, fields=keep_alive))
    assert (answer.status, calls) == (400, 0)
    # RFC 9112 §6.1: only 1.1 may have chunks.
    fields = [*keep_alive, ("Transfer-Encoding", "chunked")]
    new = request(fields=fields, method="POST") + chunked(b"body")
    answer, calls, client = pair(new, new.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (answer.status, calls) == (400, 0)


def test_environ_is_another_dict_for_each_request(serve):
    environs = []

    def application(environ, start_response):
        environs.append(environ)
        return no_content(environ, start_response)

    client = serve(application).connect()
    for _ in range(3):
        client.exchange(request())
    assert len({id(environ) for environ in environs}) == 3


def test_many_different_field_names_are_all_told_apart(environ_of):
    """More names than a server would remember: none may be taken for another."""
    fields = [(f"X-{number:x}-{number * 7919:x}", str(number)) for number in range(2000)]
    environ = environ_of(request(fields=fields), limit_request_fields=3000)
    assert http_fields(environ) == {"HTTP_" + name.upper().replace("-", "_"): value for name, value in fields}
