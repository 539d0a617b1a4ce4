"""From what was written on the command line to a callable (headrace.process.application)."""

from __future__ import annotations

import sys
from textwrap import dedent

import pytest

from headrace.process.application import ApplicationError, load_application, parse_target

WSGI = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"application"]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory on sys.path; call it with files and what they hold. Its modules are forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(**files):
        for name, text in files.items():
            path = tmp_path / (name.replace("__in__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)) or name.startswith("hr_"):
            del sys.modules[name]


def answer(application):
    return b"".join(application({}, lambda status, fields: None))


def failure(text, factory=False):
    with pytest.raises(ApplicationError) as caught:
        load_application(text, factory)
    return caught.value


class TestWhatIsWritten:
    @pytest.mark.parametrize(
        ("text", "module", "attribute", "arguments"),
        [
            ("shop", "shop", None, None),
            ("shop.wsgi", "shop.wsgi", None, None),
            ("shop:app", "shop", "app", None),
            ("shop:site.app", "shop", "site.app", None),
            ("shop:create_app()", "shop", "create_app", ((), {})),
            ("shop:make('a:b', 3, debug=True)", "shop", "make", (("a:b", 3), {"debug": True})),
            ("shop:make([1], {'k': None})", "shop", "make", (([1], {"k": None}), {})),
            ("demo.py", "demo.py", None, None),
            ("a/demo.py:app", "a/demo.py", "app", None),
            ("a:b/demo.py:make('x.py')", "a:b/demo.py", "make", (("x.py",), {})),
        ],
    )
    def test_is_taken_apart(self, text, module, attribute, arguments):
        target = parse_target(text)
        assert (target.module, target.attribute, target.arguments) == (module, attribute, arguments)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "names no module"),
            (":app", "names no module"),
            ("my-shop:app", "'my-shop' is not the name of a module"),
            ("dir/shop:app", "'dir/shop' is not the name of a module"),
            ("shop..wsgi", "is not the name of a module"),
            ("shop:", "'' is neither the name of an attribute nor a call"),
            ("shop:1", "'1' is neither"),
            ("shop:a b", "'a b' is neither"),
            ("shop:apps[0]", "is neither"),
            ("shop:make()()", "is neither"),
            ("shop:make(**x)", "is neither"),
            ("shop:make(open('x'))", "are not literals"),
            ("shop:make(name)", "are not literals"),
        ],
    )
    def test_that_makes_no_sense_is_refused(self, text, message):
        with pytest.raises(ApplicationError, match=message.replace("(", r"\(")):
            parse_target(text)

    def test_a_path_without_its_ending_gets_a_hint(self):
        assert failure("dir/shop:app").hint == "a file is named with its ending: dir/shop.py"


class TestFinding:
    def test_the_default_attribute_is_application_then_app(self, project):
        project(hr_a=WSGI + "app = None", hr_b=WSGI.replace("def application", "def app"))
        assert answer(load_application("hr_a")) == b"application"
        assert answer(load_application("hr_b")) == b"application"

    def test_a_module_in_a_package_is_found(self, project):
        project(hr_pkg__in__wsgi=WSGI, hr_pkg__in____init__="")
        assert answer(load_application("hr_pkg.wsgi:application")) == b"application"

    def test_an_attribute_of_an_attribute_is_found(self, project):
        project(hr_a=WSGI + "class site:\n    app = staticmethod(application)")
        assert answer(load_application("hr_a:site.app")) == b"application"

    def test_a_class_and_an_instance_are_applications(self, project):
        project(
            hr_a="""
            class Page:
                def __init__(self, environ, start_response): pass
                def __iter__(self): return iter([b"class"])
            class Site:
                def __call__(self, environ, start_response): return [b"instance"]
            site = Site()
            """
        )
        assert answer(load_application("hr_a:Page")) == b"class"
        assert answer(load_application("hr_a:site")) == b"instance"

    def test_a_wrapper_that_pretends_to_take_one_argument_is_an_application(self, project):
        project(
            hr_a="""
            import functools
            def view(request): return b"wrapped"
            @functools.wraps(view)
            def app(*args): return [view(args)]
            """
        )
        assert answer(load_application("hr_a")) == b"wrapped"

    def test_a_factory_is_called_with_its_arguments(self, project):
        project(
            hr_a="""
            def create_app(name="default", loud=False):
                text = (name.upper() if loud else name).encode()
                return lambda environ, start_response: [text]
            """
        )
        assert answer(load_application("hr_a:create_app()")) == b"default"
        assert answer(load_application("hr_a:create_app('shop', loud=True)")) == b"SHOP"
        assert answer(load_application("hr_a:create_app", factory=True)) == b"default"
        assert answer(load_application("hr_a", factory=True)) == b"default"
        assert answer(load_application("hr_a:create_app('x')", factory=True)) == b"x"

    def test_a_file_is_loaded_with_its_folder_on_the_path(self, project):
        folder = project(sub__in__hr_site="from hr_neighbour import application", sub__in__hr_neighbour=WSGI)
        assert answer(load_application("sub/hr_site.py")) == b"application"
        assert answer(load_application(f"{folder}/sub/hr_site.py:application")) == b"application"

    def test_a_file_in_a_package_may_import_its_siblings(self, project):
        project(hr_pkg__in____init__="", hr_pkg__in__site="from .other import application", hr_pkg__in__other=WSGI)
        assert answer(load_application("hr_pkg/site.py")) == b"application"
        assert "hr_pkg.site" in sys.modules


class TestMistakesAreToldApart:
    def test_no_such_module(self, project):
        folder = project()
        error = failure("hr_missing:app")
        assert str(error) == "there is no module named 'hr_missing'"
        assert str(folder) in error.hint
        assert error.details == ""

    def test_no_such_module_in_a_package(self, project):
        folder = project(hr_pkg__in____init__="")
        error = failure("hr_pkg.missing:app")
        assert str(error) == "there is no module named 'hr_pkg.missing'"
        assert error.hint == f"looked in the package hr_pkg ({folder}/hr_pkg)"

    def test_a_dot_that_should_be_a_colon(self, project):
        project(hr_a=WSGI)
        error = failure("hr_a.application")
        assert str(error) == "there is no module named 'hr_a.application'"
        assert error.hint == "hr_a is a module and not a package; did you mean hr_a:application?"

    def test_the_users_module_imports_one_that_is_missing(self, project):
        project(hr_a="import hr_not_installed")
        error = failure("hr_a")
        assert str(error) == "importing hr_a failed: ModuleNotFoundError: No module named 'hr_not_installed'"
        assert error.details.splitlines()[1].endswith('hr_a.py", line 1, in <module>')

    def test_the_users_module_imports_a_missing_part_of_itself(self, project):
        project(hr_pkg__in____init__="import hr_pkg.wsgi")
        error = failure("hr_pkg.wsgi")
        assert str(error).startswith("importing hr_pkg.wsgi failed: ModuleNotFoundError")

    def test_the_users_module_raises(self, project):
        project(hr_a="def configure():\n    raise KeyError('SECRET')\n\nconfigure()")
        error = failure("hr_a")
        assert str(error) == "importing hr_a failed: KeyError: 'SECRET'"
        frames = [line for line in error.details.splitlines() if line.startswith("  File")]
        assert len(frames) == 2, "only the user's own frames"
        assert "importlib" not in error.details
        assert "headrace" not in error.details

    def test_the_cause_of_a_failure_is_shown_as_well(self, project):
        project(hr_a="try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise OSError('no') from error")
        assert "ZeroDivisionError" in failure("hr_a").details

    def test_the_users_module_has_a_syntax_error(self, project):
        project(hr_a="def application(:\n")
        error = failure("hr_a")
        assert "SyntaxError" in str(error)
        assert 'hr_a.py", line 1' in error.details

    def test_the_users_module_exits(self, project):
        project(hr_a="import sys; sys.exit('usage: run me otherwise')")
        assert str(failure("hr_a")) == "importing hr_a failed: SystemExit: usage: run me otherwise"

    def test_no_such_attribute(self, project):
        project(hr_a=WSGI)
        error = failure("hr_a:aplication")
        assert str(error) == "module 'hr_a' has no attribute 'aplication'"
        assert error.hint == "did you mean 'application'?"

    def test_no_default_attribute(self, project):
        project(hr_a="def create_app(): ...")
        error = failure("hr_a")
        assert str(error) == "module 'hr_a' has neither 'application' nor 'app'"
        assert error.hint == "it has a factory: hr_a:create_app()"

    def test_not_callable(self, project):
        project(hr_a="application = {'a': 1}")
        assert str(failure("hr_a:application")) == "hr_a:application is not callable: {'a': 1}"

    def test_a_factory_without_its_call(self, project):
        project(hr_a="def create_app(): return None")
        error = failure("hr_a:create_app")
        assert "does not take the two arguments (environ, start_response) of PEP 3333" in str(error)
        assert error.hint == "if it is a factory, call it: hr_a:create_app()"

    def test_a_factory_that_fails(self, project):
        project(hr_a="def create_app(): return 1 / 0")
        error = failure("hr_a:create_app()")
        assert str(error) == "calling the factory of hr_a:create_app() failed: ZeroDivisionError: division by zero"
        assert "line 1, in create_app" in error.details

    def test_a_factory_that_returns_no_application(self, project):
        project(hr_a="def create_app(): return None")
        assert str(failure("hr_a:create_app()")) == "what hr_a:create_app() returned is not callable: None"

    def test_a_factory_that_cannot_be_called(self, project):
        project(hr_a="create_app = 5")
        assert str(failure("hr_a:create_app()")) == "hr_a:create_app() is not a factory: 5 cannot be called"

    @pytest.mark.parametrize(
        "text",
        [
            "async def app(scope, receive, send): ...",
            "class App:\n    async def __call__(self, scope, receive, send): ...\napp = App()",
        ],
    )
    def test_an_asgi_application(self, project, text):
        project(hr_a=text)
        assert str(failure("hr_a")) == "hr_a is an ASGI application"

    def test_a_file_that_does_not_exist(self, project):
        folder = project()
        error = failure("hr_missing.py")
        assert (str(error), error.hint) == ("hr_missing.py does not exist", f"the working directory is {folder}")

    def test_a_file_whose_name_belongs_to_another_module(self, project):
        project(json=WSGI)
        error = failure("json.py")
        assert str(error).startswith("json.py cannot be imported: the name 'json' belongs to ")
        assert error.hint == "give the file another name"

    def test_a_file_whose_name_is_no_module_name(self, project):
        project()
        (project() / "my-app.py").write_text(WSGI)
        assert "'my-app' is not the name of a module" in str(failure("my-app.py"))
