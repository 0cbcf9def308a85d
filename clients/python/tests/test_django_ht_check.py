"""``manage.py ht_check``: every step as it works, and as it fails, with what to fix."""

import contextlib
import http.server
import socket
from urllib.parse import urlsplit

import pytest
import tls
from conftest import serve
from django.contrib.auth.models import User
from django.core.management import CommandError
from django.core.management import call_command
from django.test import override_settings
from django.urls import include
from django.urls import path
from shop.mistakes import CachedUrls
from shop.mistakes import CatchAllUrls
from shop.settings import HAS_REST_FRAMEWORK

from high_templar.django import hints
from high_templar.django.testing import LiveGateway
from high_templar.django.views import BootstrapView
from high_templar.gateway import Gateway


@contextlib.contextmanager
def occupied(status):
    """A port where another program listens: it answers this, or nothing at all."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    if status is None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            yield silent.getsockname()[1]
        return
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serve(server)
        yield server.server_port
        server.shutdown()


class OneRoom(BootstrapView):
    def get_rooms(self, user):
        return [{"target": "one"}]


class NoName(BootstrapView):
    def get_session(self, user):
        return None


class OwnName(BootstrapView):
    def get_session(self, user):
        return "own"


class OneRoomUrls:
    def __init__(self, view=OneRoom):
        views = [path("bootstrap/", view.as_view(), name="bootstrap")]
        self.urlpatterns = [path("api/", include((views, "high_templar")))]


@pytest.fixture
def anna(transactional_db):
    return User.objects.create_user("anna")


class TestCheckCommand:
    def test_everything_works(self, anna, live_gateway, capsys):
        from django.contrib.sessions.models import Session

        call_command("ht_check", "--user", "anna")
        out = capsys.readouterr().out
        assert "Everything works." in out
        assert out.count("ok      ") == 8
        assert "ok      bootstrap answer: 2 rooms: {" in out
        assert "}; session is named: a logout disconnects\n" in out
        assert "is ready\n" in out
        assert f"{live_gateway.url} accepts the connection, with 3 rooms\n" in out
        assert "ok      sign-in: a command with its session finds the connection\n" in out
        assert "ok      delivery: received after" in out
        assert not Session.objects.exists()

    @pytest.mark.parametrize(
        ("view", "said"),
        [
            (NoName, "; no session: a logout does not disconnect (see BootstrapMixin.get_session)"),
            (OwnName, "; session has a name of its own: a logout does not disconnect by itself"),
        ],
    )
    def test_a_sign_in_without_its_name(self, anna, live_gateway, settings, capsys, view, said):
        settings.ROOT_URLCONF = OneRoomUrls(view)
        call_command("ht_check")
        out = capsys.readouterr().out
        assert f"{said}\n" in out
        found = "not asked" if view is NoName else "a command with its session finds"
        assert f"ok      sign-in: {found}" in out

    def test_nobody_hears_the_probe(self, anna, live_gateway):
        with live_gateway.connect(anna) as page:
            page.subscribe({"target": "news"})
            call_command("ht_check")
            assert page.nothing_heard()
            assert page.allowed_rooms == [
                {"target": "order", "customer": anna.pk},
                {"target": "news"},
            ]

    @pytest.mark.skipif(not HAS_REST_FRAMEWORK, reason="needs Django REST framework")
    def test_a_token(self, anna, live_gateway, capsys):
        from rest_framework.authtoken.models import Token

        token = Token.objects.create(user=anna)
        with pytest.raises(CommandError, match="--room"):
            call_command("ht_check", "--token", token.key)
        call_command("ht_check", "--token", token.key, "--room", '{"target": "news"}')
        assert "Everything works." in capsys.readouterr().out

    def test_no_gateway(self, anna, settings, capsys):
        public = "ws://127.0.0.1:1/ws/"
        settings.HIGH_TEMPLAR = {"URL": "http://127.0.0.1:1", "PUBLIC_URL": public}
        with pytest.raises(CommandError, match=r"manage.py high_templar"):
            call_command("ht_check")
        assert "FAILED  gateway, internal" in capsys.readouterr().out

    @override_settings(LOGIN_URL="/login/")
    def test_a_login_page_for_clients_without_credentials(self, anna, settings, capsys):
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "shop.mistakes.EverybodySignsIn"]
        with pytest.raises(CommandError, match=r"let it pass /api/bootstrap/.*login_not_required"):
            call_command("ht_check")
        out = capsys.readouterr().out
        assert "ok      bootstrap answer" in out
        assert "redirects a client without credentials to /login/ (302)" in out

    def test_an_answer_that_may_be_cached(self, anna, settings, capsys):
        settings.ROOT_URLCONF = CachedUrls()
        with pytest.raises(CommandError, match="never_cache"):
            call_command("ht_check")
        assert "may be cached" in capsys.readouterr().out

    def test_another_view_at_the_bootstrap_path(self, anna, settings, capsys):
        settings.ROOT_URLCONF = CatchAllUrls()
        view = r"Another view, shop\.mistakes\.page, answers at /api/bootstrap/: put the"
        with pytest.raises(CommandError, match=view):
            call_command("ht_check")
        assert "lacks Cache-Control: no-store" in capsys.readouterr().out

    def test_the_api_key_is_accepted(self, anna, live_server, settings, capsys):
        settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "API_KEY": "key"}
        with LiveGateway(live_server.url):
            call_command("ht_check")
        assert "is ready and accepts the API key\n" in capsys.readouterr().out

    def test_one_room(self, anna, live_gateway, settings, capsys):
        settings.ROOT_URLCONF = OneRoomUrls()
        call_command("ht_check")
        out = capsys.readouterr().out
        assert 'ok      bootstrap answer: 1 room: {"target": "one"}; session' in out

    @pytest.mark.parametrize("answer", [404, 200, None])
    def test_another_program_at_the_internal_port(self, anna, settings, answer):
        with occupied(answer) as port:
            settings.HIGH_TEMPLAR = {"URL": f"http://127.0.0.1:{port}"}
            with pytest.raises(CommandError) as raised:
                call_command("ht_check", "--timeout", "2")
        hint = str(raised.value)
        assert hint.startswith(f"Port {port} is in use by another program")
        assert f"ss -ltnp 'sport = :{port}'" in hint

    def test_another_program_at_the_public_port(self, anna, settings):
        with occupied(404) as port:
            public = f"ws://127.0.0.1:{port}/ws/"
            settings.HIGH_TEMPLAR = {"URL": "http://127.0.0.1:1", "PUBLIC_URL": public}
            with pytest.raises(CommandError, match=f"^Port {port} is in use by another program"):
                call_command("ht_check")

    def test_the_gateway_of_another_site(self, anna, live_gateway, backend, settings, capsys):
        with Gateway(backend.url) as other:
            settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "PUBLIC_URL": other.url}
            with pytest.raises(CommandError, match="of another site"):
                call_command("ht_check")

    def test_a_gateway_elsewhere(self, anna, live_gateway, settings, capsys):
        settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "PUBLIC_URL": "ws://127.0.0.1:1/ws/"}
        with pytest.raises(CommandError, match="PUBLIC_URL"):
            call_command("ht_check")
        assert "FAILED  gateway, public" in capsys.readouterr().out

    @pytest.mark.parametrize("key", [{}, {"API_KEY": "another"}])
    def test_another_key(self, anna, live_gateway, settings, capsys, key):
        backend = live_gateway._variables["HT_BACKEND__URL"]
        with LiveGateway(backend, {"HT_INTERNAL__API_KEY": "right"}):
            settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, **key}
            with pytest.raises(CommandError) as raised:
                call_command("ht_check")
        assert str(raised.value) == hints.KEY
        # Before a page connects: `/ready` is open to everybody, and proves nothing about the key.
        out = capsys.readouterr().out
        assert "FAILED  gateway, internal: " in out
        assert "(401)" in out
        assert "gateway, public" not in out

    def test_two_gateways_that_do_not_know_each_other(self, anna, live_gateway, settings):
        url = live_gateway._variables["HT_BACKEND__URL"]
        with LiveGateway(url) as other:
            settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "URL": other.internal_url}
            settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "PUBLIC_URL": live_gateway.url}
            with pytest.raises(CommandError, match="same gateway"):
                call_command("ht_check", "--timeout", "3")

    def test_a_site_that_is_down(self, anna, live_gateway, settings, capsys):
        with (
            LiveGateway("http://127.0.0.1:1"),
            pytest.raises(CommandError, match="Is the site up"),
        ):
            call_command("ht_check")
        assert "1013" in capsys.readouterr().out

    def test_a_user_who_is_refused(self, anna, settings, capsys):
        User.objects.update(is_active=False)
        with pytest.raises(CommandError, match="AUTHENTICATION"):
            call_command("ht_check", "--user", "anna")
        assert "FAILED  bootstrap answer: /api/bootstrap/ answers 403" in capsys.readouterr().out

    def test_no_such_user(self, transactional_db):
        with pytest.raises(CommandError, match="no user with the username 'ben'"):
            call_command("ht_check", "--user", "ben")
        with pytest.raises(CommandError, match="no active user"):
            call_command("ht_check")


class TestTls:
    """A gateway behind a proxy that ends TLS, with a certificate of a private CA."""

    @pytest.fixture
    def own_ca(self, anna, live_gateway, certificate, settings):
        with contextlib.ExitStack() as stack:
            internal, public = (
                stack.enter_context(tls.Proxy(certificate, port_of(url)))
                for url in (live_gateway.internal_url, live_gateway.url)
            )
            settings.HIGH_TEMPLAR = {
                **settings.HIGH_TEMPLAR,
                "URL": f"https://{internal.address}",
                "PUBLIC_URL": f"wss://{public.address}/ws/",
            }
            yield str(certificate)

    def test_everything_works(self, own_ca, monkeypatch, capsys):
        monkeypatch.setenv("SSL_CERT_FILE", own_ca)
        call_command("ht_check")
        assert "Everything works." in capsys.readouterr().out

    def test_a_ca_that_is_named_is_the_commands_alone(self, own_ca, capsys):
        with pytest.raises(CommandError, match="for the site in the variable SSL_CERT_FILE"):
            call_command("ht_check", "--ca", own_ca)
        out = capsys.readouterr().out
        # The site itself could not publish.
        assert out.count("ok      ") == 6
        assert "accepts the connection" in out
        assert "FAILED  delivery: the certificate of https://localhost:" in out

    def test_a_ca_that_nobody_names(self, own_ca, capsys):
        with pytest.raises(CommandError, match="name that with --ca FILE"):
            call_command("ht_check")
        out = capsys.readouterr().out
        assert "FAILED  gateway, internal: the certificate of https://localhost:" in out

    def test_a_ca_that_only_the_public_listener_needs(self, own_ca, live_gateway, settings, capsys):
        settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "URL": live_gateway.internal_url}
        with pytest.raises(CommandError, match="name that with --ca FILE"):
            call_command("ht_check")
        assert "FAILED  gateway, public: wss://localhost:" in capsys.readouterr().out
        call_command("ht_check", "--ca", own_ca)
        assert "Everything works." in capsys.readouterr().out

    def test_a_port_without_tls(self, own_ca, live_gateway, settings, capsys):
        url = live_gateway.internal_url.replace("http://127.0.0.1", "https://localhost")
        settings.HIGH_TEMPLAR = {**settings.HIGH_TEMPLAR, "URL": url}
        with pytest.raises(CommandError, match="Does that port speak TLS"):
            call_command("ht_check", "--ca", own_ca)

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_a_file_that_holds_no_ca(self, anna, tmp_path, content):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        with pytest.raises(CommandError, match=r"--ca: cannot read certificates from .*ca\.pem"):
            call_command("ht_check", "--ca", str(path))


def port_of(url):
    return urlsplit(url).port
