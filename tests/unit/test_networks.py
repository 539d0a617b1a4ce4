"""headrace.networks: who is in the networks that are trusted?"""

from __future__ import annotations

import pytest

from headrace import networks
from headrace.networks import Networks, parse_network


class TestParsing:
    @pytest.mark.parametrize("text", ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1", "unix", "*"])
    def test_takes_networks_addresses_and_two_words(self, text):
        assert parse_network(text)

    @pytest.mark.parametrize("text", ["", "10.1.2.3/8", "10.0.0.0/33", "localhost", "UNIX", "10.0.0.0/8 ", "300.0.0.1"])
    def test_refuses_everything_else_and_shows_it(self, text):
        with pytest.raises(ValueError, match="is no network") as caught:
            parse_network(text)
        assert repr(text) in str(caught.value)


class TestPeers:
    trusted = Networks(["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"])

    @pytest.mark.parametrize("peer", ["10.255.0.1", "2001:db8::7", "192.0.2.1", "::ffff:10.0.0.1", "2001:db8::7%eth0"])
    def test_are_in_them(self, peer):
        assert self.trusted.has_peer(peer)
        assert self.trusted.has_peer(peer)  # from memory

    @pytest.mark.parametrize("peer", ["11.0.0.1", "192.0.2.2", "::1", "", "unix:", None, "10.0.0.1, 11.0.0.1", "x"])
    def test_are_not(self, peer):
        assert not self.trusted.has_peer(peer)
        assert not self.trusted.has_peer(peer)

    def test_of_unix_sockets_are_by_the_word(self):
        assert Networks(["unix"]).has_peer("")
        assert not Networks(["unix"]).has_peer("127.0.0.1")

    def test_are_all_there_are_with_a_star(self):
        assert all(map(Networks(["*"]).has_peer, ("192.0.2.9", "", "::1")))
        assert not Networks(["*"]).has_peer(None)

    def test_nobody_is_in_none(self):
        assert not any(map(Networks([]).has_peer, ("127.0.0.1", "", "::1")))

    def test_are_remembered_up_to_a_bound(self, monkeypatch):
        monkeypatch.setattr(networks, "REMEMBERED_MAX", 3)
        trusted = Networks(["10.0.0.0/8"])
        for number in range(20):
            assert trusted.has_peer(f"10.0.0.{number}")
        assert len(trusted._answers) <= 3
