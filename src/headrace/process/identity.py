"""Who this process is: user, group and supplementary groups, umask, environment, title.

The order at the start, for whoever puts the parts together: listeners are bound, the pid file is written
(pid_file.py), files that the server has to write are made and given away (give_away_files), then drop_privileges(),
and only then whatever the application brings is imported, and the spool folder is tried out.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.config import Config, ConfigError
from headrace.errors import HeadraceError

logger = logging.getLogger("headrace")

#: uid_t and gid_t have 32 bits; -1 means "leave it" to setreuid(2) and chown(2).
ID_MAX = 2**32 - 2


class PrivilegeError(HeadraceError):
    """The process cannot become who it is to be, and must not serve; ``hint`` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the process is to be, in numbers.

    groups: all supplementary groups.  name and home: of the user, None where the user database has no such entry."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str | None = None
    home: str | None = None

    def is_present(self) -> bool:
        """Is the process that already: real, effective and saved, and in no other group?

        Who may not change its groups (a service manager has set them) need not, if user and group are right."""
        if _user_ids() != {self.uid} or _group_ids() != {self.gid}:
            return False
        return os.geteuid() != 0 or _groups_now() == {self.gid, *self.groups}


def identity_of(config: Config) -> Identity | None:
    """What --user, --group and --initgroups ask for; None when they ask for nothing.

    A user without --group gets its primary group, and without --initgroups no supplementary groups: those of whoever
    started the server are never kept (gunicorn keeps them, and root's group as well, unless it is told otherwise).
    Raises ConfigError for names that the system does not know."""
    problems: list[str] = []
    user = _number(config.user, "user", problems)
    group = _number(config.group, "group", problems)
    record = None if user is None else _user_record(user)
    if config.initgroups and config.user is None:
        problems.append("--initgroups: it needs --user, whose groups are meant")
    elif user is not None and record is None and (config.initgroups or config.group is None):
        problems.append(f"--user: {user} is not in the user database, and has no groups there; add --group alone")
    if problems:
        raise ConfigError(problems)
    if user is None and group is None:
        return None
    uid = os.getuid() if user is None else user
    if group is None:
        group = record.pw_gid if record is not None else os.getgid()
    if record is None:
        return Identity(uid, group, (group,))
    groups = os.getgrouplist(record.pw_name, group) if config.initgroups else [group]
    return Identity(uid, group, tuple(groups), record.pw_name, record.pw_dir)


def _number(text: str | None, kind: Literal["user", "group"], problems: list[str]) -> int | None:
    """By name, or else it is a number, which need not be in the database."""
    if text is None:
        return None
    with suppress(KeyError, ValueError):  # ValueError: a NUL
        return pwd.getpwnam(text).pw_uid if kind == "user" else grp.getgrnam(text).gr_gid
    if text.isascii() and text.isdigit() and int(text[:11]) <= ID_MAX:
        return int(text)
    problems.append(f"--{kind}: there is no {kind} {text!r}")
    return None


def _user_record(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


# -- Before the drop --------------------------------------------------------------------------------------------------


def give_away_files(identity: Identity | None, files: Iterable[str | None]) -> None:
    """Make these files if they are not there (logs, appended to) and give them to the identity, so that it can open
    them, now and again when they have been rotated.  None and "-" stand for no file.

    A name that is a symbolic link, a file with several names, or one that is no regular file keeps its owner: in a
    folder that others may write to it could be anybody's file.  What cannot be given away is left as it is; opening
    it tells.  Raises OSError when a file cannot be made."""
    if identity is None:
        return
    for name in files:
        if name is not None and name != "-" and not Path(name).is_symlink():
            _give_away_file(identity, name)


def _give_away_file(identity: Identity, name: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, 0o666)
    except OSError as error:
        if Path(name).exists():
            return  # a FIFO without a reader, a socket
        raise error from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid != identity.uid:
            os.fchown(descriptor, identity.uid, identity.gid)
    except OSError as error:
        logger.debug("HR904 %s keeps its owner: %s", name, error)
    finally:
        os.close(descriptor)


# -- The drop ---------------------------------------------------------------------------------------------------------


def drop_privileges(identity: Identity | None) -> None:
    """Become the identity for good: supplementary groups, group, user, in this order, for root alone may change the
    first two.  Afterwards all of them are as they should be and the way back is closed, or PrivilegeError is raised.

    HOME, USER and LOGNAME become the user's, as with su(1) and systemd.
    All threads of the process change (nptl(7))."""
    if identity is None:
        return
    if not identity.is_present():
        try:
            _change(identity)
        except OSError as error:
            raise PrivilegeError(
                f"cannot become user {identity.name or identity.uid}, group {identity.gid}: "
                f"{(error.strerror or str(error)).lower()}",
                "that takes root or CAP_SETUID and CAP_SETGID" if os.geteuid() != 0 else "",
            ) from None
        _check_changed(identity)
    _check_no_way_back(identity)
    if identity.name is not None and identity.home is not None:
        os.environ.update(HOME=identity.home, USER=identity.name, LOGNAME=identity.name)


def _change(identity: Identity) -> None:
    if os.geteuid() == 0 or _groups_now() != set(identity.groups):
        os.setgroups(identity.groups)
    if hasattr(os, "setresuid"):
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    else:  # macOS: for root these change the saved ones, too
        os.setgid(identity.gid)
        os.setuid(identity.uid)


def _check_changed(identity: Identity) -> None:
    for what, now, wanted in (
        ("user ids", _user_ids(), {identity.uid}),
        ("group ids", _group_ids(), {identity.gid}),
        ("supplementary groups", _groups_now() | {identity.gid}, {identity.gid, *identity.groups}),
    ):
        if now != wanted:
            raise PrivilegeError(f"the {what} are {sorted(now)} where {sorted(wanted)} was asked for")


def _check_no_way_back(identity: Identity) -> None:
    """setuid(2) and setgid(2) with 0 have to fail.  They do not where a capability was kept (capabilities(7))."""
    for what, number, change in (("user", identity.uid, os.setuid), ("group", identity.gid, os.setgid)):
        if identity.uid == 0 or number == 0:
            continue
        try:
            change(0)
        except OSError:
            continue
        raise PrivilegeError(
            f"the {what} 0 could be had again after the change to user {identity.uid}",
            "it keeps a capability: look for ambient or inherited ones, and for secure bits",
        )


def _user_ids() -> set[int]:
    return set(os.getresuid()) if hasattr(os, "getresuid") else {os.getuid(), os.geteuid()}


def _group_ids() -> set[int]:
    return set(os.getresgid()) if hasattr(os, "getresgid") else {os.getgid(), os.getegid()}


def _groups_now() -> set[int]:
    return set(os.getgroups())


# -- The rest ---------------------------------------------------------------------------------------------------------


def set_umask(umask: int | None) -> None:
    """Before anything is made: it counts for UNIX sockets, logs, the pid file and what the application makes."""
    if umask is not None:
        os.umask(umask)


def set_environment(assignments: Sequence[str]) -> None:
    """Each is NAME=VALUE, as Config has checked.  After drop_privileges(), whose HOME it may replace."""
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        os.environ[name] = value
        if name == "TZ":
            time.tzset()  # Python has read it already, for the times in the logs


def prepare_title() -> None:
    """Call it before anything changes the environment: the library finds the arguments of the process in front of its
    first variable, and reads whatever lies there when that has been replaced."""
    with suppress(ImportError):
        import setproctitle

        setproctitle.getproctitle()


def set_title(text: str) -> bool:
    """What ps(1) and top(1) show for this process.  False without the library setproctitle (`headrace[title]`)."""
    try:
        import setproctitle
    except ImportError:
        return False
    setproctitle.setproctitle(text)
    return True


def title_of(role: str, config: Config, target: str) -> str:
    """ "headrace: worker [shop.wsgi]", in the shape that gunicorn's titles have."""
    return f"headrace: {role} [{config.proc_name or target}]"
