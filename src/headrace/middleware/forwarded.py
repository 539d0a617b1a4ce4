"""What trusted proxies say of the client: X-Forwarded-* and Forwarded (RFC 7239)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from headrace.forwarded_fields import (
    DEFAULT_FIELDS,
    DEFAULT_TRUSTED,
    HOPS_MAX,
    Malformed,
    apply_told,
    as_it_was,
    hops_believed,
    is_removed,
    known_fields,
    read_told,
)
from headrace.middleware.plain_text import answer
from headrace.networks import Networks

if TYPE_CHECKING:
    from headrace.wsgi import Application


class ForwardedHeaders:
    """A WSGI application that tells another one who the client is, and what it asked for, as trusted proxies say.

    REMOTE_ADDR and REMOTE_PORT, wsgi.url_scheme, HTTP_HOST, SERVER_NAME, SERVER_PORT and SCRIPT_NAME are set from the
    fields; what they were before is in environ["headrace.forwarded"], a dict, which is only there if a proxy was
    believed.  The fields themselves never reach the application, whoever sent them: nobody can believe them again.

    Addresses are read from the last one on, which the nearest proxy added: each is believed as long as the one that
    told it is trusted.  From the same proxy come scheme, host, port and prefix; a field that has one value for all
    proxies is the nearest one's.  A proxy that says "unknown" or a made-up name (RFC 7239 §6.2, §6.3) leaves
    REMOTE_ADDR empty.

    On a server of ours these rules take the place of the server's own (--forwarded-allow-ips), but what it has removed,
    since it does not trust the peer, is gone.

    A trusted proxy's field with a fault in it gets the request refused with 400.  Going on with the rest could make the
    proxy's own address, which is likely to be allowed more, pass for the client's.
    """

    def __init__(
        self,
        application: Application,
        trusted: Iterable[str] = DEFAULT_TRUSTED,
        *,
        fields: Sequence[str] = DEFAULT_FIELDS,
        hops: int | None = None,
    ) -> None:
        """trusted: the proxies' networks, "10.0.0.0/8" or "2001:db8::1", and "unix" for whoever connects to a UNIX
        socket.  By default loopback and UNIX sockets.  "*" is everybody; then one proxy is believed if hops does not
        say otherwise.

        fields: what the proxies set, either ["Forwarded"] or some of X-Forwarded-For, -Proto, -Host, -Port and -Prefix.
        **Name only those that your nearest proxy sets or removes**: others come from the client as it likes.

        hops: how many proxies there are at most, 1 to 100; None for as many as are in the trusted networks, up to 100.
        Where proxies have addresses that nobody knows, trust 0.0.0.0/0 and ::/0 and give their number.

        Raises ValueError for a network, a field or a number that is none; TypeError when the application cannot be
        called or a list is one str.
        """
        if not callable(application):
            raise TypeError(f"a WSGI application is callable with (environ, start_response); this is {application!r}")
        for value, what in ((trusted, "trusted"), (fields, "fields")):
            if isinstance(value, str):
                raise TypeError(f"{what} must be a list, such as [{value!r}]; this is {value!r}")
        if hops is not None and not 1 <= hops <= HOPS_MAX:
            raise ValueError(f"hops must be 1 to {HOPS_MAX}, or None; this is {hops!r}")
        self._application = application
        self._networks = Networks(trusted)
        self._fields = known_fields(fields)
        self._hops = hops_believed(self._networks, hops)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ = as_it_was(environ)
        peer_is_trusted = self._networks.has_peer(environ.get("REMOTE_ADDR"))
        inner = {key: value for key, value in environ.items() if not is_removed(key, peer_is_trusted)}
        if peer_is_trusted:
            try:
                told = read_told(environ, self._fields, self._networks.has, self._hops)
            except Malformed as error:
                return answer(environ, start_response, "400 Bad Request", f"Bad Request: {error}")
            apply_told(told, inner)
        return self._application(inner, start_response)
