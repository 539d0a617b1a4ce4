"""Settings: one table (settings.py), the checked, immutable result (config.py), and what a bind means (address.py)."""

from headrace.config.address import Address, AddressError, parse_bind
from headrace.config.config import Config, ConfigError, check_referee, with_usable_spool_dir
from headrace.config.setting import Setting
from headrace.config.settings import SETTINGS

__all__ = [
    "SETTINGS",
    "Address",
    "AddressError",
    "Config",
    "ConfigError",
    "Setting",
    "check_referee",
    "parse_bind",
    "with_usable_spool_dir",
]
