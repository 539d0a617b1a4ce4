"""Networks that are trusted: "10.0.0.0/8", "2001:db8::1", "unix" and "*"; is a peer in one of them?"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The word for "whoever connects to a UNIX socket".
UNIX = "unix"

#: The word for "whoever connects, from anywhere".
EVERYBODY = "*"

#: What REMOTE_ADDR is for a UNIX socket, on this server and on others.
UNIX_PEERS = ("", "unix:")

#: Peers whose answer is remembered; behind a proxy there are few.
REMEMBERED_MAX = 1024


def parse_network(text: str) -> Network | str:
    """A network, or one of the two words.  A single address is a network of its own; host bits are refused, for
    "10.1.2.3/8" may mean either.  Raises ValueError with a message that shows the text."""
    if text in (UNIX, EVERYBODY):
        return text
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            f'{text!r} is no network; write 10.0.0.0/8, 2001:db8::/32, one address, "unix" or "*"'
        ) from None


def plain(address: Address) -> Address:
    """IPv4 as IPv4, which a socket for both shows as ::ffff:192.0.2.1, and without zone."""
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


class Networks:
    """What is trusted.  Immutable but for the memory of its answers, which any thread may use."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Raises ValueError for what is no network."""
        parsed = [parse_network(text) for text in texts]
        self.trusts_everybody = EVERYBODY in parsed
        self.trusts_unix = UNIX in parsed or self.trusts_everybody
        self._networks = [network for network in parsed if not isinstance(network, str)]
        self._answers: dict[str, bool] = {}

    def has(self, address: Address) -> bool:
        """Is an address, as plain() makes it, in one of them?"""
        return self.trusts_everybody or any(address in network for network in self._networks)

    def has_peer(self, remote_addr: str | None) -> bool:
        """The same for REMOTE_ADDR, which is "" for the peer of a UNIX socket; False for what is no address."""
        if remote_addr is None:
            return False
        if remote_addr in UNIX_PEERS:
            return self.trusts_unix
        answer = self._answers.get(remote_addr)
        if answer is None:
            try:
                answer = self.has(plain(ipaddress.ip_address(remote_addr)))
            except ValueError:
                answer = False
            if len(self._answers) >= REMEMBERED_MAX:
                self._answers.clear()
            self._answers[remote_addr] = answer
        return answer
