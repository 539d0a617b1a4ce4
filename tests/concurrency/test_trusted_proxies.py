"""What trusted proxies say of more clients than are remembered, judged by several threads."""

from __future__ import annotations

import threading

from headrace.config import Config
from headrace.engine.forwarded_rules import REMEMBERED_MAX, ForwardedRules

THREADS = 4
ROUNDS = 20


def test_each_is_believed_while_another_thread_forgets_them_all():
    rules = ForwardedRules(Config(forwarded_allow_ips=("127.0.0.1",)))
    outcomes = []

    def judge():
        try:
            for number in list(range(REMEMBERED_MAX + 50)) * ROUNDS:
                client = f"192.0.2.{number % 250}"
                environ = {
                    "REMOTE_ADDR": "127.0.0.1",
                    "HTTP_HOST": f"{number}.example",
                    "HTTP_X_FORWARDED_FOR": client,
                }
                verdict = rules.judge(environ, True)
                assert verdict is not None and verdict.changes["REMOTE_ADDR"] == client
            outcomes.append("all of them")
        except BaseException as error:
            outcomes.append(repr(error))

    threads = [threading.Thread(target=judge) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["all of them"] * THREADS
