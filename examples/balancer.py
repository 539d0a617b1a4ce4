"""Load balancing: requests are forwarded to servers over the network.  Needs the extra `balancer`.

    headrace examples/balancer.py

It asks the servers of the variable BACKENDS.  Two to play with, each in a terminal of its own:

    headrace examples/hello.py -b 127.0.0.1:8001
    headrace examples/hello.py -b 127.0.0.1:8002
    curl http://127.0.0.1:8000/

Stop one of them with Ctrl-C while `watch -n 0.1 curl -s http://127.0.0.1:8000/` runs: nothing is lost.  Stop both, and
the answer is 502, then 503.  Start one again: within a second or two it gets requests.
"""

from __future__ import annotations

import os

from headrace.middleware import Balancer

BACKENDS = os.environ.get("BACKENDS", "http://127.0.0.1:8001 http://127.0.0.1:8002")

application = Balancer(BACKENDS.split(), policy="least-busy", read_timeout_s=30)
