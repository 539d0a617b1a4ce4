"""--reload in the process that loads the application: what it serves, and the watch over what it has loaded.

    application, is_good = load_or_explain(target, config)
    if is_good or there is no older process that serves:  serve it
    reloader_for(config, tell_the_supervisor).start()

A process whose code does not load and that has a predecessor ends instead; the predecessor serves on, and its own
reloader tells of the next change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from headrace.config import Config, ConfigError
from headrace.process.application import ApplicationError, load_application
from headrace.process.broken import BrokenApplication
from headrace.process.reloader import Reloader, engine_for
from headrace.process.watch_list import WatchList
from headrace.wsgi import Application

logger = logging.getLogger("headrace")


def load_or_explain(target: str, config: Config) -> tuple[Application, bool]:
    """The application and True; or one that shows why it cannot be loaded, which is logged as well, and False."""
    try:
        return load_application(target, config.factory), True
    except ApplicationError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        logger.error("HR913 The application cannot be loaded: %s%s\n%s", error, hint, error.details.rstrip("\n"))
        return BrokenApplication(str(error), error.hint, error.details), False


def check_reload_engine(config: Config) -> None:
    """Raises ConfigError where --reload-engine names what is not installed."""
    if config.reload:
        try:
            engine_for(config.reload_engine)
        except ValueError as error:
            raise ConfigError([f"--reload-engine: {error}"]) from None


def reloader_for(config: Config, on_change: Callable[[], object]) -> Reloader:
    """on_change is called in the reloader's thread, after a line in the log that says what has changed.  The project
    is the working directory, as --chdir has set it."""

    def tell(paths: list[str]) -> None:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        logger.info("HR914 Reloading: %s has changed%s", paths[0], more)
        on_change()

    watch_list = WatchList(".", config.reload_extra_file, config.reload_include, config.reload_exclude)
    return Reloader(tell, watch_list, config.reload_engine)
