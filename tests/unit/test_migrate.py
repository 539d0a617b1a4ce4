"""`headrace migrate`: the command of another server as one of ours, and what differs."""

from __future__ import annotations

import shlex

import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.config import SETTINGS
from headrace.migrate.command import IN_GENERAL, SERVERS
from headrace.migrate.uwsgi import RULES, WITHOUT_EFFECT

INI = """
; a site
[other]
module = wrong
[uwsgi]
project = shop
base = /srv/%(project)
chdir = %(base)
module = %(project).wsgi
callable = site
master = true
threads = 2
socket = %d%n.sock
http-socket = :9090
buffer-size=32768
env = A=1
env = B=$(HOME)
static-map = /static=/srv/static
virtualenv = /srv/venv
lazy-apps = true
nonsense = 5
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/u")
    return tmp_path


def migrate(*words, code=0):
    result = CliRunner().invoke(main, ["migrate", *words])
    assert result.exit_code == code, result.output
    return result.output


def command_of(output):
    return shlex.split(output.splitlines()[0])


def has(words, *expected):
    return " ".join(expected) in " ".join(words)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("gunicorn -b :80 --threads 4 shop.wsgi", "headrace shop.wsgi --bind :80 --threads 4"),
        ("gunicorn -k gthread --threads=2 shop:app", "headrace shop:app --threads 2"),
        ("gunicorn -k gevent shop:app", "headrace shop:app --threads 64"),
        ("A=1 poetry run gunicorn shop:app", "A=1 headrace shop:app --threads 1"),
        ("/venv/bin/python -m gunicorn 'shop:f(\"x y\")'", "headrace 'shop:f(\"x y\")' --threads 1"),
        ("waitress-serve --listen=h:80 --threads=6 shop:app", "headrace shop:app --bind h:80 --threads 6"),
        ("waitress-serve --port=80 --call shop:make", "headrace shop:make --bind 0.0.0.0:80 --threads 4 --factory"),
        ("waitress-serve shop:app", "headrace shop:app --bind 0.0.0.0:8080 --threads 4"),
        (
            "granian --interface wsgi --port 80 --http1-header-read-timeout 1500 shop:app",
            "headrace shop:app --bind 127.0.0.1:80 --head-timeout 1.5",
        ),
        ("uvicorn --interface wsgi --timeout-keep-alive 5 shop:app", "headrace shop:app --keep-alive 5"),
        ("uwsgi --http :80 --wsgi-file f.py --callable app --master", "headrace f.py:app --bind :80 --threads 1"),
        ("GUNICORN_CMD_ARGS='-w4 --threads 2' gunicorn shop:app",
         "GUNICORN_CMD_ARGS='-w4 --threads 2' headrace shop:app"),
        ("WEB_CONCURRENCY=4 gunicorn shop:app", "WEB_CONCURRENCY=4 headrace shop:app --threads 1"),
        ("gunicorn --forwarded-allow-ips 10.0.0.0/8 a:b",
         "headrace a:b --threads 1 --forwarded-allow-ips 10.0.0.0/8,unix"),
        ("gunicorn -b unix:/x -m 007 a:b", "headrace a:b --bind unix:/x --threads 1 --umask 007"),
        ("gunicorn -k gthread -t 30 --threads 4 shop:app", "headrace shop:app --threads 4"),
        ("gunicorn -t 30 shop:app", "headrace shop:app --threads 1 --timeout 30"),
        ("uwsgi --http :80 --plugin python3 --wsgi-file a.py --callable app",
         "headrace a.py:app --bind :80 --threads 1"),
        ("uwsgi --http :80 --lazy-apps a.b", "headrace a.b --bind :80 --threads 1"),
        ("uwsgi --http :80 -w a --daemonize /var/log/u.log",
         "headrace a --bind :80 --threads 1 --error-logfile /var/log/u.log --daemon"),
        ("uwsgi --http :80 --mount /api=app.py --callable app",
         "headrace app.py:app --bind :80 --threads 1 --root-path /api"),
        ("uwsgi --http :80 -w a --http-timeout 60 --procname shop", "headrace a --bind :80 --threads 1 --name shop"),
        ("uvicorn --interface wsgi --log-config l.json shop:app", "headrace shop:app --log-config-json l.json"),
        ("granian --interface wsgi --reload --reload-paths a --reload-paths b --reload-ignore-dirs c shop:app",
         "headrace shop:app --reload --reload-include a --reload-include b --reload-exclude c"),
        ("uwsgi -s /x.sock -w a.b --threads 3 -l 100", "headrace a.b --bind unix:/x.sock --backlog 100 --threads 3"),
    ],
)
def test_a_command_line_becomes_ours(words, command):
    output = migrate(words)
    assert output.splitlines()[0].replace(" --workers 1", "").replace(" --no-preload", "") == command
    assert migrate(*shlex.split(words)) == output, "in quotes or not"


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ("-b :80 -k gthread --threads 4 --keep-alive 3 --env A=b", "keep_alive = 3.0"),
        ("-w 4 --limit-request-line 0", "limit_request_line = 1048576"),
        ("--limit-request-field_size 0", "limit_request_field_size = 1048576"),
    ],
)
def test_what_is_printed_is_a_command_that_headrace_takes(words, setting):
    words = command_of(migrate(f"gunicorn {words} shop.wsgi"))
    result = CliRunner().invoke(main, ["--print-config", *words[1:]])
    assert result.exit_code == 0
    assert setting in result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("gunicorn shop:app", "- timeout is off here, and 30 s there\n  hint: --timeout 30 "),
        ("gunicorn -k gthread -t 30 shop:app", "- -t is off here: gunicorn limits no request by it"),
        ("gunicorn -b unix:/x shop:app", "- --unix-socket-mode 777: as there"),
        ("uwsgi --http :80 -w a", "- uWSGI's line for each request is not written\n  hint: --access-logfile "),
        ("uwsgi --http :80 -w a --http-timeout 60", "- http-timeout has no counterpart here\n  hint: it is the rout"),
        ("uwsgi --http :80 --mount /a=x.py --mount /b=y.py", "- mount /a, /b are several applications"),
        ("waitress-serve --port=80 a:b", "- --port alone is every interface with waitress, and so in this --bind"),
        ("uvicorn --interface wsgi --log-config l.yaml a:b", "- --log-config in YAML is not read"),
        ("uvicorn --http2 a:b", "- --http2 has no counterpart here\n  hint: HTTP/2 is not spoken"),
        ("UVICORN_PORT=80 uvicorn a:b", "- UVICORN_PORT: variables of uvicorn are not read"),
        ("GUNICORN_CMD_ARGS=--statsd-host=h:1 gunicorn a:b", "- GUNICORN_CMD_ARGS: --statsd-host has no counterpart"),
        ("gunicorn --limit-request-line 0 a:b", "- --limit-request-line: 1m is the most here; 0 is no limit there"),
        ("GUNICORN_CMD_ARGS='--limit-request-field_size 0' gunicorn a:b",
         "- GUNICORN_CMD_ARGS: --limit-request-field_size: 1m is the most here"),
        ("gunicorn --forwarded-allow-ips '*' a:b",
         "- --forwarded-allow-ips '*' believes what any client says of its address, scheme and host, REMOTE_ADDR incl"),
        ("gunicorn --forwarded-allow-ips '10.0.0.1, *' a:b", "\n  hint: name the proxy's network, unless nobody else "),
        ("uvicorn --interface wsgi --forwarded-allow-ips '*' a:b", "- --forwarded-allow-ips '*' believes what any "),
        ("waitress-serve --trusted-proxy=* --trusted-proxy-headers=forwarded a:b", "- --trusted-proxy '*' believes "),
    ],
)
def test_what_differs_is_named(words, told):
    assert told in migrate(words)


@pytest.mark.parametrize(
    ("words", "not_told"),
    [
        ("gunicorn -k gevent shop:app", "- timeout is off"),
        ("gunicorn -t 9 shop:app", "timeout is off"),
        ("gunicorn --limit-request-line 4094 --forwarded-allow-ips 10.0.0.1 shop:app", "no limit"),
        ("gunicorn --limit-request-line 4094 --forwarded-allow-ips 10.0.0.1 shop:app", "believes"),
        ("uwsgi --http :80 -w a --disable-logging", "line for each request"),
        ("waitress-serve --clear-untrusted-proxy-headers a:b", "untrusted"),
        ("uvicorn --interface wsgi --reset-contextvars a:b", "contextvars"),
        ("granian --interface wsgi a:b", "interface"),
    ],
)
def test_what_is_the_same_is_not_named(words, not_told):
    assert not_told not in migrate(words)


def test_a_gunicorn_conf_py_in_the_folder_is_read_and_named(folder):
    (folder / "gunicorn.conf.py").write_text("threads = 3\ntimeout = 30\n")
    output = migrate("gunicorn -k gevent shop:app")
    assert command_of(output) == ["headrace", "shop:app"]
    assert "\ngunicorn.conf.py has been read for this, and headrace reads it as well" in output
    assert "- gunicorn.conf.py: timeout is off here" in output
    (folder / "gunicorn.conf.py").write_text("timeout = 30\n")
    words = command_of(migrate("gunicorn -k gevent shop:app"))
    assert words == ["headrace", "shop:app", "--threads", "64", "--timeout", "0"], "which the file does not say"


def test_what_differs_in_a_gunicorn_conf_py_is_named_as_on_the_command_line(folder):
    (folder / "gunicorn.conf.py").write_text("limit_request_line = 0\nforwarded_allow_ips = '*'\n")
    for words in ("gunicorn shop:app", "gunicorn.conf.py shop:app"):
        output = migrate(words)
        assert "- gunicorn.conf.py: limit_request_line: 1m is the most here; 0 is no limit there\n" in output
        assert "- gunicorn.conf.py: forwarded_allow_ips '*' believes what any client says" in output


def test_an_application_can_stand_behind_a_gunicorn_conf_py(folder):
    (folder / "g.py").write_text("threads = 3\n")
    assert command_of(migrate("g.py", "shop:app")) == ["headrace", "shop:app", "-c", "g.py"]
    assert "APPLICATION is missing: name it in its place" in migrate("g.py")


def test_an_ini_of_uwsgi_is_read_as_uwsgi_does(folder):
    (folder / "shop.ini").write_text(INI)
    output = migrate("shop.ini")
    words = command_of(output)
    assert words[:2] == ["headrace", "shop.wsgi:site"]
    assert has(words, "--bind", f"unix:{folder}/shop.sock", "--bind", ":9090")
    assert has(words, "--chdir", "/srv/shop")
    assert has(words, "--env", "A=1", "--env", "B=/home/u")
    assert has(words, "--limit-request-head", "32k")
    assert "the uwsgi protocol is not spoken here" in output
    assert "run the headrace of that environment: /srv/venv/bin/headrace" in output
    assert "- nonsense is not known here" in output
    assert "project" not in output.replace("projects", "")
    assert migrate("uwsgi", "--ini", "shop.ini") == output


def test_a_gunicorn_conf_py_stays_what_it_is(folder):
    (folder / "g.py").write_text("wsgi_app = 'shop:app'\nstatsd_host = 'h:1'\nthreads = 3\n")
    for words in (["gunicorn", "-c", "g.py"], ["g.py"]):
        output = migrate(*words)
        assert command_of(output) == ["headrace", "shop:app", "-c", "g.py"]
        assert "- g.py: statsd_host has no counterpart here" in output


def test_what_promised_security_is_exit_code_1(folder):
    output = migrate("gunicorn --certfile a.pem shop:app", code=1)
    assert "What it cannot have:\n- --certfile: not available here; TLS" in output
    assert "- https: not available here" in migrate("uwsgi --https :443 -w a", code=1)


def test_a_value_that_is_wrong_here_is_told():
    assert "- --backlog: 0 is outside the range" in migrate("gunicorn --backlog 0 shop:app", code=1)


def test_options_that_nobody_knows_are_named():
    output = migrate("granian --interface wsgi --bogus shop:app")
    assert command_of(output)[1] == "shop:app"
    assert "- --bogus is not known here" in output


def test_what_is_no_server_is_exit_code_2():
    assert "no server that is known here" in migrate("hypercorn shop:app", code=2)
    assert "error: missing.ini: no such file or directory" in migrate("missing.ini", code=2)


def test_without_an_application_it_says_so():
    assert migrate("gunicorn -b :80").splitlines()[0].startswith("headrace APPLICATION --bind :80")


def test_an_application_called_migrate_can_still_be_served(folder):
    (folder / "migrate.py").write_text("1 / 0\n")
    result = CliRunner().invoke(main, ["migrate:app"])
    assert result.exit_code == 3


def test_every_server_has_what_differs_always():
    assert set(SERVERS.values()) == set(IN_GENERAL)


def test_the_rules_of_uwsgi_do_not_overlap_and_their_hints_are_hints():
    assert not set(RULES) & WITHOUT_EFFECT
    for name, rule in RULES.items():
        assert not rule.hint.endswith("."), name
        assert rule.setting in SETTINGS or rule.setting == "", name
        assert rule.setting in ("", "bind") or not rule.hint, f"{name}: nobody sees the hint"
