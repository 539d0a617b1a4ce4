"""--behind: what a preset sets, and what it leaves."""

from __future__ import annotations

import pytest

from headrace.config import SETTINGS, Config, ConfigError
from headrace.config.behind import PRESETS, told
from headrace.networks import Networks


def behind(name, **given):
    return Config.from_values({"behind": name, **given})


@pytest.mark.parametrize("name", PRESETS)
class TestEveryPreset:
    def test_keeps_connections_longer_than_its_balancer(self, name):
        assert PRESETS[name].keep_alive > PRESETS[name].idle_s

    def test_sets_what_the_table_has(self, name):
        config = behind(name)
        for setting, value in PRESETS[name].settings().items():
            assert setting in SETTINGS
            assert getattr(config, setting) == value

    def test_says_in_one_line_what_it_has_set(self, name):
        line = told(behind(name))
        assert line.startswith(f"Behind {name}: --keep-alive {PRESETS[name].keep_alive:g} ")
        assert "\n" not in line
        assert "as given" not in line

    def test_with_a_star_believes_a_number_of_proxies(self, name):
        assert "*" not in PRESETS[name].forwarded_allow_ips or PRESETS[name].forwarded_hops


def test_what_is_given_wins_and_is_told():
    config = behind("alb", keep_alive=200, forwarded_allow_ips="10.9.0.0/16")
    assert (config.keep_alive, config.forwarded_allow_ips, config.forwarded_hops) == (200, ("10.9.0.0/16",), 1)
    assert told(config).endswith("; as given and not by the preset: --keep-alive, --forwarded-allow-ips")


def test_a_default_that_is_given_wins_too():
    assert behind("gcp", keep_alive=75.0).keep_alive == 75


def test_without_it_nothing_changes_and_nothing_is_told():
    assert Config.from_values({}) == Config()
    assert told(Config()) is None


def test_one_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="behind: 'elb' is not one of alb, gcp"):
        behind("elb")


def test_alb_waits_longer_than_its_sixty_seconds():
    assert (behind("alb").keep_alive, behind("gcp").keep_alive) == (75, 620)


class TestLists:
    def test_are_separated_by_commas_or_are_lists(self):
        for value in ("10.0.0.0/8, unix,,", ["10.0.0.0/8", "unix"]):
            assert Config(forwarded_allow_ips=value).forwarded_allow_ips == ("10.0.0.0/8", "unix")
        assert Config(forwarded_allow_ips="").forwarded_allow_ips == ()

    @pytest.mark.parametrize(
        ("name", "value", "problem"),
        [
            ("forwarded_allow_ips", "10.0.0.1/8", "'10.0.0.1/8' is no network"),
            ("proxy_allow_from", ["localhost"], "'localhost' is no network"),
            ("forwarded_allow_ips", 5, "is not a str or a list"),
            ("forwarded_allow_ips", [5], "5 is not a str"),
            ("forwarded_fields", "X-Real-IP", "is none of the fields"),
            ("forwarded_fields", "Forwarded,X-Forwarded-For", "not in both"),
            ("root_path", "shop", "does not begin with a slash"),
            ("root_path", "/a/../b", "is no path"),
            ("root_path", "/a?b", "is no path"),
            ("unix_socket_mode", "rw", "is not a mode"),
            ("unix_socket_mode", "888", "is not a mode"),
            ("forwarded_hops", 101, "outside the range"),
        ],
    )
    def test_and_others_are_refused_with_the_reason(self, name, value, problem):
        with pytest.raises(ConfigError, match=problem):
            Config(**{name: value})

    def test_are_brought_into_one_form(self):
        config = Config(root_path="/shop/", unix_socket_mode="0o660", forwarded_fields="x-forwarded-for")
        assert (config.root_path, config.unix_socket_mode) == ("/shop", "660")
        assert config.forwarded_fields == ("X-Forwarded-For",)


def test_gcp_believes_both_of_googles_ipv6_networks():
    believed = Networks(behind("gcp").forwarded_allow_ips)
    for address in ("35.191.0.1", "130.211.0.1", "2600:2d00:1:1::1", "2600:2d00:1:b029::1"):
        assert believed.has_peer(address)
