"""How logs name clients, listeners and requests."""

from __future__ import annotations

import pytest

from headrace.engine.record import listener_name, peer_name, request_name


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [("192.0.2.1", "4711", "192.0.2.1:4711"), ("2001:db8::1", "4711", "[2001:db8::1]:4711"), ("", "", "unix")],
)
def test_a_client_is_named_by_address_and_port_or_as_one_of_a_unix_socket(address, port, name):
    assert peer_name(address, port) == name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 8000), "http://127.0.0.1:8000"),
        (("::1", 8000, 0, 0), "http://[::1]:8000"),
        ("/run/app.sock", "unix:/run/app.sock"),
        (b"\0app", "unix:@app"),
    ],
)
def test_a_listener_is_named_as_the_line_that_says_that_it_listens_has_it(address, name):
    assert listener_name(address) == name


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [("GET", "/a?secret?b", "GET /a"), ("OPTIONS", "*", "OPTIONS *"), (None, None, "a request")],
)
def test_a_request_is_named_by_method_and_path_as_far_as_they_are_known(method, target, name):
    assert request_name(method, target) == name
