"""--behind NAME: what a balancer that many have in front of them needs, each figure with its source.

A preset fills in what was not given; it never changes what was.  keep_alive has to be longer than the balancer keeps
an idle connection to us, or else it sends a request into one that we are closing, and its client gets a 502.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from headrace.config.config import Config

FOR_AND_PROTO = ("X-Forwarded-For", "X-Forwarded-Proto")
FOR_PROTO_AND_PORT = (*FOR_AND_PROTO, "X-Forwarded-Port")
SAME_MACHINE = ("127.0.0.0/8", "::1/128", "unix")

#: RFC 1918, RFC 6598 (which VPCs may use, too) and RFC 4193.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")

#: Google Front Ends; cloud.google.com/load-balancing/docs/firewall-rules.
GOOGLE_FRONT_ENDS = ("130.211.0.0/22", "35.191.0.0/16", "2600:2d00:1:1::/64", "2600:2d00:1:b029::/64")

#: https://www.cloudflare.com/ips/, of 2023-09-28, the newest so far.
CLOUDFLARE = (
    "173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "141.101.64.0/18", "108.162.192.0/18",
    "190.93.240.0/20", "188.114.96.0/20", "197.234.240.0/22", "198.41.128.0/17", "162.158.0.0/15", "104.16.0.0/13",
    "104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22",
    "2400:cb00::/32", "2606:4700::/32", "2803:f800::/32", "2405:b500::/32", "2405:8100::/32", "2a06:98c0::/29",
    "2c0f:f248::/32",
)  # fmt: skip


class Preset(NamedTuple):
    """The settings of these names, in their units; idle_s: how long the balancer keeps an idle connection to us."""

    idle_s: float
    keep_alive: float
    forwarded_allow_ips: tuple[str, ...]
    forwarded_fields: tuple[str, ...]
    forwarded_hops: int = 0

    def settings(self) -> dict[str, object]:
        values = self._asdict()
        del values["idle_s"]
        return values


PRESETS: dict[str, Preset] = {
    # "Connection idle timeout": 60 s by default (Elastic Load Balancing, Application Load Balancers, "Edit attributes";
    # up to 4,000, then --keep-alive has to follow). It appends to X-Forwarded-For, sets -Proto and -Port ("HTTP headers
    # and Application Load Balancers"), and has addresses of the VPC.
    "alb": Preset(60, 75, PRIVATE, FOR_PROTO_AND_PORT, 1),
    # "Backend HTTP keepalive timeout": fixed at 600 s, 620 recommended. X-Forwarded-For ends with
    # "<client-ip>,<load-balancer-ip>" (External Application Load Balancer overview, "X-Forwarded-For header"). Regional
    # and internal ones come from the proxy-only subnet of the VPC: give it as --forwarded-allow-ips.
    "gcp": Preset(600, 620, GOOGLE_FRONT_ENDS, FOR_AND_PROTO, 2),
    # Router 2.0 keeps connections to dynos for 90 s ("HTTP Routing", Dev Center, which asks for 95). Nothing but the
    # router reaches a dyno's port, and its addresses are not published. It appends the client's address and sets
    # X-Forwarded-Proto and -Port.
    "heroku": Preset(90, 95, ("*",), FOR_PROTO_AND_PORT, 1),
    # ngx_http_upstream_module, keepalive_timeout: 60 s. What it sets is up to its configuration:
    #     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
    "nginx": Preset(60, 75, SAME_MACHINE, FOR_AND_PROTO),
    # pool-purge-delay: half of the idle connections of a server go every 5 s; none outlives "timeout server", which is
    # given as 50 or 60 s in most examples. "option forwardfor" appends, "http-request set-header X-Forwarded-Proto".
    "haproxy": Preset(60, 75, SAME_MACHINE, FOR_AND_PROTO),
    # "Connection limits", between Cloudflare and origin server: Proxy Idle Timeout 900 s. It appends to X-Forwarded-For
    # and sets -Proto ("Cloudflare HTTP headers"). A tunnel (cloudflared) connects from the same machine.
    "cloudflare": Preset(900, 915, (*CLOUDFLARE, *SAME_MACHINE), FOR_AND_PROTO),
    # serversTransport.forwardingTimeouts.idleConnTimeout: 90 s. It removes X-Forwarded-* of whom it does not trust
    # itself (entryPoints.forwardedHeaders) and sets all of these. Mostly a container beside ours.
    "traefik": Preset(90, 105, (*SAME_MACHINE, *PRIVATE), (*FOR_PROTO_AND_PORT, "X-Forwarded-Host")),
    # reverse_proxy, transport http, keepalive: 2 min. It sets X-Forwarded-For, -Proto and -Host anew by default.
    "caddy": Preset(120, 135, SAME_MACHINE, (*FOR_AND_PROTO, "X-Forwarded-Host")),
}


def with_preset(values: Mapping[str, object]) -> dict[str, object]:
    """What was given, and of the preset that it names (if any) what was not."""
    preset = PRESETS.get(str(values.get("behind")))
    return dict(values) if preset is None else {**preset.settings(), **values}


def told(config: Config) -> str | None:
    """One line for the log at the start: what --behind has set, and what was given instead; None without it."""
    preset = PRESETS.get(config.behind or "")
    if preset is None:
        return None
    parts = [
        f"--keep-alive {config.keep_alive:g} (it keeps idle connections for {preset.idle_s:g} s)",
        f"--forwarded-allow-ips {','.join(config.forwarded_allow_ips)}",
        f"--forwarded-fields {','.join(config.forwarded_fields)}",
    ]
    if config.forwarded_hops:
        parts.append(f"--forwarded-hops {config.forwarded_hops}")
    given = [
        "--" + name.replace("_", "-") for name, value in preset.settings().items() if getattr(config, name) != value
    ]
    line = f"Behind {config.behind}: {', '.join(parts)}"
    return line + (f"; as given and not by the preset: {', '.join(given)}" if given else "")
