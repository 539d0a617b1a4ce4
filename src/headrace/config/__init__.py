"""Settings: one table (settings.py), the checked, immutable result (config.py), and what a bind means (address.py)."""

from headrace.config.address import Address, AddressError, parse_bind
from headrace.config.config import Config, ConfigError
from headrace.config.settings import SETTINGS, Setting

__all__ = ["SETTINGS", "Address", "AddressError", "Config", "ConfigError", "Setting", "parse_bind"]
