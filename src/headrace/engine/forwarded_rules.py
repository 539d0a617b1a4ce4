"""--forwarded-allow-ips: whose X-Forwarded-* and Forwarded (RFC 7239) are believed, and what becomes of the others.

The engine asks only for requests that have such fields; see head.pyx.  What proxies write, and what it means, is in
headrace.forwarded_fields.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from headrace.forwarded_fields import (
    Malformed,
    changes_of,
    hops_believed,
    is_statement,
    key_of,
    read_told,
)
from headrace.networks import Networks

if TYPE_CHECKING:
    from headrace.config import Config

log = logging.getLogger("headrace")

#: Verdicts that are remembered, and the octets of the fields that they may have: half a MiB in all.
REMEMBERED_MAX = 512
REMEMBERED_OCTETS_MAX = 512

#: The log tells of a proxy's faults at most so often.
TOLD_EVERY_S = 60.0


class Verdict(NamedTuple):
    """What becomes of an environ.  changes: new values by key; what was there before is kept for the application.
    removed: keys that go."""

    changes: dict[str, str]
    removed: tuple[str, ...]


#: Where none is remembered; it may be None that is.
UNKNOWN: Final = Verdict({}, ())


class ForwardedRules:
    """Immutable, but for the memory of verdicts, which any thread may use."""

    def __init__(self, config: Config) -> None:
        self._networks = Networks(config.forwarded_allow_ips)
        self._fields = config.forwarded_fields
        self._hops = hops_believed(self._networks, config.forwarded_hops or None)
        # Who gives a number knows how many proxies there are, but need not know their addresses.
        self._trusts = self._networks.has if not config.forwarded_hops else lambda _address: True
        # Of all that is not a proxy's statement only Host has a say: it gives the name for X-Forwarded-Port.
        self._keys = tuple(key_of(name) for name in (*self._fields, "Host"))
        self._verdicts: dict[tuple[str | None, ...], Verdict | None] = {}
        self._told_removed = False
        self._tell_again_s = 0.0

    def trusts_peer(self, remote_addr: str) -> bool:
        """remote_addr: of the other end of the connection, or as the PROXY protocol gave it; "" for a UNIX socket."""
        return self._networks.has_peer(remote_addr)

    def judge(self, environ: Mapping[str, Any], peer_is_trusted: bool) -> Verdict | None:
        """For an environ with fields that only a proxy should send; None: it stays as it is.

        Raises Malformed for a trusted proxy's field that breaks its grammar."""
        if not peer_is_trusted:
            return self._removed_from(environ)
        key = tuple(map(environ.get, self._keys))
        known = self._verdicts.get(key, UNKNOWN)  # one look: another thread may forget them all between two
        if known is not UNKNOWN:
            return known
        verdict = self._believe(environ)
        if sum(len(value) for value in key if value is not None) <= REMEMBERED_OCTETS_MAX:
            if len(self._verdicts) >= REMEMBERED_MAX:
                self._verdicts = {}
            self._verdicts[key] = verdict
        return verdict

    def _believe(self, environ: Mapping[str, Any]) -> Verdict | None:
        try:
            told = read_told(environ, self._fields, self._trusts, self._hops)
        except Malformed as error:
            self._tell(error, environ)
            raise
        changes = {key: value or "" for key, value in changes_of(told, environ).items() if key in environ or value}
        return Verdict(changes, ()) if changes else None

    def _removed_from(self, environ: Mapping[str, Any]) -> Verdict:
        removed = tuple(filter(is_statement, environ))
        if not self._told_removed:
            self._told_removed = True
            log.info(
                "HR210 %s from %s was removed: it is not in --forwarded-allow-ips, as a proxy has to be (told once)",
                removed[0],
                environ["REMOTE_ADDR"] or "a UNIX socket",
            )
        return Verdict({}, removed)

    def _tell(self, error: Malformed, environ: Mapping[str, Any]) -> None:
        now_s = time.monotonic()
        if now_s >= self._tell_again_s:
            self._tell_again_s = now_s + TOLD_EVERY_S
            peer = environ["REMOTE_ADDR"] or "on a UNIX socket"
            log.warning("HR211 a request of the proxy %s is refused: %s", peer, error)
