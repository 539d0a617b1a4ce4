"""Router: whose path is it?  Over sockets, with wsgiref's validator above and below."""

from __future__ import annotations

from wsgiref.validate import validator

import pytest
from wire import request

from headrace.middleware import Router


def named(name):
    """An application that says its name and where it finds itself."""

    @validator
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{name} {environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode("latin-1")]

    return application


@pytest.fixture
def ask(serve):
    """ask(router, target, method): the response."""
    running = []

    def ask(router, target, method="GET"):
        if not running:
            running.append(serve(validator(router)))
        return running[0].exchange(request(target, method=method), method=method)

    return ask


class TestPaths:
    def test_each_path_has_its_application_and_others_are_404(self, ask):
        router = Router()
        router("/hello")(named("hello"))
        router("/bye")(named("bye"))
        assert ask(router, "/hello?a=b").body == b"hello |/hello"
        assert ask(router, "/bye").body == b"bye |/bye"
        for target in ("/", "/hello/", "/hello/more", "/hell", "/Hello"):
            assert ask(router, target).status == 404

    def test_the_decorator_returns_what_it_registered(self):
        router = Router()
        application = named("a")
        assert router("/a")(application) is application

    def test_the_instance_and_its_route_are_the_same_application(self, serve):
        router = Router()
        router("/hello")(named("hello"))
        assert serve(validator(router.route)).exchange(request("/hello")).body == b"hello |/hello"

    def test_a_path_in_unicode_is_matched_as_utf_8(self, ask):
        router = Router()
        router("/grüße/€")(named("greetings"))
        assert ask(router, "/gr%C3%BC%C3%9Fe/%E2%82%AC").status == 200

    def test_a_path_comes_before_a_mount_at_the_same_place(self, ask):
        router = Router()
        router.mount("/a", named("mount"))
        router("/a")(named("path"))
        assert ask(router, "/a").body == b"path |/a"
        assert ask(router, "/a/").body == b"mount /a|/"

    def test_not_found_says_what_was_not(self, ask):
        response = ask(Router(), "/gr%C3%BC%0A%3Cb%3E")
        assert (response.status, response.reason) == (404, "Not Found")
        assert response.body.decode() == "Not Found: nothing is at '/grü\\n<b>'\n"
        assert response.get("Content-Type") == "text/plain; charset=utf-8"
        assert response.get("X-Content-Type-Options") == "nosniff"

    def test_not_found_for_head_has_the_length_and_no_content(self, ask):
        response = ask(Router(), "/x", "HEAD")
        assert (response.status, response.get("Content-Length")) == (404, "30")


class TestMethods:
    @pytest.fixture
    def router(self):
        router = Router()
        router("/thing", methods=["GET"])(named("shown"))
        router("/thing", methods=["PUT", "DELETE"])(named("changed"))
        router("/any")(named("any"))
        router("/form", methods=["POST"])(named("form"))
        return router

    def test_applications_share_a_path_by_method(self, ask, router):
        assert ask(router, "/thing").body == b"shown |/thing"
        assert ask(router, "/thing", "DELETE").body == b"changed |/thing"

    def test_other_methods_get_405_with_allow(self, ask, router):
        response = ask(router, "/thing", "POST")
        assert (response.status, response.get("Allow")) == (405, "DELETE, GET, HEAD, OPTIONS, PUT")
        assert response.body == b"Method Not Allowed: '/thing' takes DELETE, GET, HEAD, OPTIONS, PUT, not POST\n"

    def test_head_goes_where_get_goes(self, ask, router):
        assert ask(router, "/thing", "HEAD").status == 200
        assert ask(router, "/form", "HEAD").get("Allow") == "OPTIONS, POST"

    def test_head_may_have_its_own(self, ask):
        router = Router()
        router("/a", methods=["GET"])(named("get"))
        seen = []

        @router("/a", methods=["HEAD"])
        def head(environ, start_response):
            seen.append(environ["REQUEST_METHOD"])
            start_response("200 OK", [("Content-Type", "text/plain")])
            return []

        assert ask(router, "/a", "HEAD").status == 200
        assert seen == ["HEAD"]

    def test_options_is_answered_with_allow(self, ask, router):
        response = ask(router, "/form", "OPTIONS")
        assert (response.status, response.get("Allow"), response.body) == (204, "OPTIONS, POST", b"")

    def test_without_methods_the_application_gets_all_of_them(self, ask, router):
        for method in ("GET", "POST", "OPTIONS", "TRACE"):
            assert ask(router, "/any", method).body == b"any |/any"

    def test_an_application_without_methods_takes_what_the_others_leave(self, ask):
        router = Router()
        router("/a", methods=["GET"])(named("get"))
        router("/a")(named("rest"))
        assert ask(router, "/a").body == b"get |/a"
        assert ask(router, "/a", "POST").body == b"rest |/a"
        assert ask(router, "/a", "HEAD").status == 200


class TestMounts:
    @pytest.fixture
    def router(self):
        router = Router()
        router.mount("/", named("root"))
        router.mount("/shop", named("shop"))
        router.mount("/shop/admin/", named("admin"))
        return router

    @pytest.mark.parametrize(
        ("target", "body"),
        [
            ("/", "root |/"),
            ("/other/x", "root |/other/x"),
            ("/shopping", "root |/shopping"),
            ("/shop", "shop /shop|"),
            ("/shop/", "shop /shop|/"),
            ("/shop//x", "shop /shop|//x"),
            ("/shop/administration", "shop /shop|/administration"),
            ("/shop/admin", "admin /shop/admin|"),
            ("/shop/admin/a%20b", "admin /shop/admin|/a b"),
        ],
    )
    def test_the_longest_prefix_moves_to_script_name(self, ask, router, target, body):
        assert ask(router, target).body.decode() == body

    def test_routers_are_mounted_in_routers(self, ask):
        inner, outer = Router(), Router()
        inner("/")(named("index"))
        inner.mount("/deep", named("deep"))
        outer.mount("/api", inner)
        assert ask(outer, "/api").body == b"index /api|"
        assert ask(outer, "/api/").body == b"index /api|/"
        assert ask(outer, "/api/deep/x").body == b"deep /api/deep|/x"
        assert ask(outer, "/api/none").body == b"Not Found: nothing is at '/api/none'\n"

    def test_who_stands_in_front_still_sees_the_whole_path(self, serve, router):
        seen = []

        def logger(environ, start_response):
            result = router(environ, start_response)
            seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"]))
            return result

        assert serve(logger).exchange(request("/shop/x")).status == 200
        assert seen == [("", "/shop/x")]


class TestMistakes:
    @pytest.mark.parametrize("path", ["", "hello", "*"])
    def test_a_path_without_a_slash_in_front_is_refused(self, path):
        with pytest.raises(ValueError, match=r"a path begins with a slash; this is '"):
            Router()(path)
        with pytest.raises(ValueError, match=r"a path begins with a slash; this is '"):
            Router().mount(path, named("a"))

    def test_a_path_that_is_no_text_is_refused(self):
        with pytest.raises(TypeError, match=r"a path is a str such as '/hello'; this is b'/a'"):
            Router()(b"/a")

    def test_a_path_is_taken_once_for_each_method(self):
        router = Router()
        router("/a", methods=["GET"])(named("a"))
        with pytest.raises(ValueError, match=r"'/a' is taken already for GET"):
            router("/a", methods=["PUT", "GET"])(named("b"))
        router("/a", methods=["PUT"])(named("b"))
        router("/b")(named("b"))
        with pytest.raises(ValueError, match=r"'/b' is taken already$"):
            router("/b")(named("c"))

    def test_a_prefix_is_taken_once(self):
        router = Router()
        router.mount("/a", named("a"))
        with pytest.raises(ValueError, match=r"something is mounted at '/a/' already"):
            router.mount("/a/", named("b"))

    def test_what_cannot_be_called_is_refused(self):
        with pytest.raises(TypeError, match="this is 'no application'"):
            Router().mount("/", "no application")
        with pytest.raises(TypeError, match="this is None"):
            Router()("/a")(None)

    def test_one_method_as_text_is_refused(self):
        with pytest.raises(TypeError, match=r"such as \['GET'\]"):
            Router()("/a", methods="GET")

    @pytest.mark.parametrize(
        ("methods", "message"),
        [
            ([], r"methods is an empty list"),
            (["GET", "post"], r"case-sensitive \(RFC 9110 section 9.1\): 'post' is not 'POST'"),
            (["Get"], r"'Get' is not 'GET'"),
            (["*"], r"'\*' is no method"),
            ([""], r"a method is a token such as 'GET' \(RFC 9110 section 9.1\); this is ''"),
            (["GET\r\nX-Evil: 1"], r"this is 'GET\\r\\nX-Evil: 1'"),
            (["GET, PUT"], r"this is 'GET, PUT'"),
            (["GÉT"], r"this is 'GÉT'"),
        ],
    )
    def test_methods_that_are_none_are_refused(self, methods, message):
        with pytest.raises(ValueError, match=message):
            Router()("/a", methods=methods)

    def test_a_method_that_is_no_text_is_refused(self):
        with pytest.raises(TypeError, match=r"a method is a str such as 'GET'; this is b'GET'"):
            Router()("/a", methods=[b"GET"])

    def test_methods_of_ones_own_may_be_spelled_as_one_likes(self):
        router = Router()
        router("/a", methods=["purge", "M-SEARCH"])(lambda environ, start_response: start_response("200 OK", []) or [])
        answers = []
        for method in ("purge", "M-SEARCH", "PURGE"):
            environ = {"REQUEST_METHOD": method, "PATH_INFO": "/a"}
            router(environ, lambda status, headers: answers.append(status))
        assert answers == ["200 OK", "200 OK", "405 Method Not Allowed"]
