"""For tests of middleware: `serve_between` puts wsgiref's validator above and below it; `front` is a Balancer."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
import wire

sys.path.insert(0, str(Path(__file__).parent))  # for scripted_backend.py; importlib mode adds nothing

from scripted_backend import Script


@pytest.fixture
def serve_between(serve: Callable[..., Any]) -> Callable[..., Any]:
    """serve_between(middleware, application): a server for both, with a validator on either side of the middleware."""
    return lambda middleware, application: serve(validator(middleware(validator(application))))


@pytest.fixture
def script():
    made = []

    def make(*answers, **options):
        made.append(Script(*answers, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def dead():
    """The URL of a backend that is not there: its port is bound and nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
def front(serve):
    """front(*backends, **settings): a server with a Balancer, whose `balancer` attribute it is.

    exchange() returns when the Balancer has done with the request, too: a connection that is kept is there for the next
    one.  rest() waits for that.
    """
    pytest.importorskip("urllib3")
    from headrace.middleware import Balancer

    made = []

    def make(*backends, **settings):
        settings = {"policy": "round-robin", **settings}
        balancer = Balancer([getattr(each, "url", each) for each in backends], **settings)
        made.append(balancer)
        running = serve(balancer)
        running.balancer = balancer
        running.rest = lambda: wire.wait_until(lambda: not any(one.in_flight for one in balancer.backends), "its rest")
        exchange = running.exchange

        def exchange_and_rest(*arguments, **options):
            answer = exchange(*arguments, **options)
            running.rest()
            return answer

        running.exchange = exchange_and_rest
        return running

    yield make
    for balancer in made:
        balancer.close()
