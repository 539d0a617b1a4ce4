"""Who the process is (headrace.process.identity).  What takes root runs in forked children, or is skipped."""

from __future__ import annotations

import grp
import json
import os
import pwd
import sys
import time

import pytest

from headrace.config import Config, ConfigError
from headrace.process import identity as identity_module
from headrace.process.identity import (
    Identity,
    PrivilegeError,
    drop_privileges,
    give_away_files,
    identity_of,
    set_environment,
    set_title,
    set_umask,
    title_of,
)

#: CPython 3.12 and newer warn of a fork in a process with threads; those that another test has left are no matter.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
no_root = pytest.mark.skipif(os.geteuid() == 0, reason="takes a user that is not root")


def in_child(function):
    """What the function returns (as JSON) or raises (as text), run in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            result = function()
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text)


def standing():
    """Effective ids and groups, as numbers."""
    return [os.geteuid(), os.getegid(), sorted(os.getgroups())]


class TestNames:
    def test_nothing_asked_is_nothing_to_do(self):
        assert identity_of(Config()) is None

    def test_a_user_brings_its_group_and_no_others(self):
        expected = Identity(NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,), "nobody", NOBODY.pw_dir)
        assert identity_of(Config(user="nobody")) == expected
        assert identity_of(Config(user=str(NOBODY.pw_uid))) == expected

    def test_a_group_may_be_another_than_the_users(self):
        daemon = grp.getgrnam("daemon").gr_gid
        for group in ("daemon", str(daemon)):
            found = identity_of(Config(user="nobody", group=group))
            assert (found.uid, found.gid, found.groups) == (NOBODY.pw_uid, daemon, (daemon,))

    def test_initgroups_brings_all_groups_of_the_user(self, monkeypatch):
        monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 7, 8])
        assert identity_of(Config(user="nobody", initgroups=True)).groups == (NOBODY.pw_gid, 7, 8)

    def test_a_group_alone_leaves_the_user(self):
        assert identity_of(Config(group="daemon")).uid == os.getuid()

    def test_a_number_that_nobody_has_is_good_with_a_group(self):
        assert identity_of(Config(user="54321", group="54322")) == Identity(54321, 54322, (54322,))

    @pytest.mark.parametrize(
        ("settings", "problems"),
        [
            ({"user": "hr-missing", "group": "hr-gone"},
             ["--user: there is no user 'hr-missing'", "--group: there is no group 'hr-gone'"]),
            ({"user": "-1"}, ["--user: there is no user '-1'"]),
            ({"user": str(2**32 - 1), "group": "0"}, ["--user: there is no user '4294967295'"]),
            ({"group": "9" * 20}, ["--group: there is no group '99999999999999999999'"]),
            ({"user": "54321"}, ["--user: 54321 is not in the user database"]),
            ({"user": "54321", "group": "1", "initgroups": True}, ["--user: 54321 is not in the user database"]),
            ({"initgroups": True}, ["--initgroups: it needs --user"]),
        ],
    )  # fmt: skip
    def test_names_that_nobody_has_are_problems_all_told_at_once(self, settings, problems):
        with pytest.raises(ConfigError) as caught:
            identity_of(Config(**settings))
        assert len(caught.value.problems) == len(problems)
        for told, begin in zip(caught.value.problems, problems):
            assert told.startswith(begin)


class TestDropping:
    @as_root
    def test_leaves_one_user_one_group_and_nothing_of_roots(self):
        def drop():
            os.setgroups([0, 1, 2])
            drop_privileges(identity_of(Config(user="nobody")))
            return [standing(), list(os.getresuid()), list(os.getresgid())]

        uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
        assert in_child(drop) == [[uid, gid, [gid]], [uid] * 3, [gid] * 3]

    @as_root
    def test_takes_the_groups_that_were_asked_for(self):
        def drop():
            drop_privileges(Identity(54321, 54322, (54322, 54323)))
            return standing()

        assert in_child(drop) == [54321, 54322, [54322, 54323]]

    @as_root
    def test_of_the_group_alone_keeps_the_user(self):
        def drop():
            drop_privileges(Identity(0, 54322, (54322,)))
            return standing()

        assert in_child(drop) == [0, 54322, [54322]]

    @as_root
    def test_cannot_be_undone(self):
        def drop():
            drop_privileges(Identity(54321, 54322, (54322,)))
            undone = []
            for change in (os.setuid, os.seteuid, os.setgid, os.setegid):
                try:
                    change(0)
                    undone.append(change.__name__)
                except PermissionError:
                    pass
            return undone

        assert in_child(drop) == []

    @as_root
    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities")
    def test_that_can_be_undone_is_an_error(self):
        def drop():
            import ctypes

            keep_setuid_fixup = 1 << 2  # SECBIT_NO_SETUID_FIXUP: uids change and capabilities stay, capabilities(7)
            if ctypes.CDLL(None).prctl(28, keep_setuid_fixup, 0, 0, 0) != 0:
                return "no prctl"
            drop_privileges(Identity(54321, 54322, (54322,)))
            return "dropped"

        result = in_child(drop)
        if result == "no prctl":
            pytest.skip("the secure bits cannot be set here")
        assert result == "PrivilegeError: the user 0 could be had again after the change to user 54321"

    @as_root
    def test_sets_home_and_name_of_the_user(self):
        def drop():
            drop_privileges(identity_of(Config(user="nobody")))
            return [os.environ[name] for name in ("HOME", "USER", "LOGNAME")]

        assert in_child(drop) == [NOBODY.pw_dir, "nobody", "nobody"]

    @as_root
    @pytest.mark.parametrize("ineffective", ["setgroups", "setresgid", "setresuid"])
    @pytest.mark.skipif(not hasattr(os, "setresuid"), reason="no setresuid")
    def test_that_had_no_effect_is_an_error(self, monkeypatch, ineffective):
        monkeypatch.setattr(os, ineffective, lambda *_: None)

        def drop():
            drop_privileges(Identity(54321, 54322, (54322, 54323)))

        assert in_child(drop).startswith("PrivilegeError: the ")

    def test_that_is_refused_is_an_error_that_says_who(self, monkeypatch):
        def refuse(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "setgroups", refuse)
        monkeypatch.setattr(identity_module.Identity, "is_present", lambda self: False)
        with pytest.raises(PrivilegeError, match="cannot become user nobody, group 54322: operation not permitted"):
            drop_privileges(Identity(NOBODY.pw_uid, 54322, (54322, 54323), "nobody", "/"))

    @no_root
    def test_by_another_user_than_root_is_an_error(self):
        with pytest.raises(PrivilegeError):
            drop_privileges(Identity(54321, 54322, (54322,)))

    def test_to_what_the_process_is_already_does_nothing(self):
        def drop():
            drop_privileges(Identity(os.getuid(), os.getgid(), tuple(os.getgroups())))
            return standing()

        assert in_child(drop) == standing()

    @as_root
    def test_works_from_the_user_that_it_is_to_be(self):
        def drop():
            os.setgroups([54322])
            os.setresgid(54322, 54322, 54322)
            os.setresuid(54321, 54321, 54321)
            drop_privileges(Identity(54321, 54322, (54322,)))
            return standing()

        assert in_child(drop) == [54321, 54322, [54322]]

    def test_that_nobody_asked_for_does_nothing(self):
        before = standing()
        drop_privileges(None)
        assert standing() == before


@as_root
class TestFilesThatAreGivenAway:
    TO = Identity(54321, 54322, (54322,))

    def test_are_made_and_belong_to_the_user(self, tmp_path):
        log = tmp_path / "error.log"
        give_away_files(self.TO, [str(log), None, "-"])
        assert (log.stat().st_uid, log.stat().st_gid, log.read_text()) == (54321, 54322, "")

    def test_keep_their_content(self, tmp_path):
        log = tmp_path / "error.log"
        log.write_text("before")
        give_away_files(self.TO, [str(log)])
        assert (log.stat().st_uid, log.read_text()) == (54321, "before")

    def test_are_no_links_to_somebody_elses(self, tmp_path):
        (tmp_path / "shadow").write_text("")
        (tmp_path / "soft.log").symlink_to("shadow")
        os.link(tmp_path / "shadow", tmp_path / "hard.log")
        give_away_files(self.TO, [str(tmp_path / "soft.log"), str(tmp_path / "hard.log")])
        assert (tmp_path / "shadow").stat().st_uid == 0

    def test_are_no_devices_or_pipes(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        give_away_files(self.TO, ["/dev/null", str(tmp_path / "fifo")])
        assert os.stat("/dev/null").st_uid == (tmp_path / "fifo").stat().st_uid == 0

    def test_that_cannot_be_made_are_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            give_away_files(self.TO, [str(tmp_path / "missing" / "error.log")])


class TestTheRest:
    def test_umask(self):
        before = os.umask(0)
        try:
            set_umask(None)
            assert os.umask(0) == 0
            set_umask(0o027)
            assert os.umask(0) == 0o027
        finally:
            os.umask(before)

    def test_environment_and_the_time_zone_in_it(self):
        def change():
            set_environment(["HR_A=1=2", "HR_EMPTY=", "TZ=XYZ-3"])
            return [os.environ["HR_A"], os.environ["HR_EMPTY"], time.strftime("%Z")]

        assert in_child(change) == ["1=2", "", "XYZ"]

    def test_title_is_what_the_system_shows(self):
        pytest.importorskip("setproctitle")

        def change():
            import setproctitle

            return [set_title(title_of("worker", Config(proc_name="shop"), "shop.wsgi")), setproctitle.getproctitle()]

        assert in_child(change) == [True, "headrace: worker [shop]"]

    def test_title_without_the_library_stays(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "setproctitle", None)
        assert not set_title("headrace: server [x]")

    def test_title_has_the_application_where_no_name_was_given(self):
        assert title_of("server", Config(), "shop.wsgi") == "headrace: server [shop.wsgi]"
