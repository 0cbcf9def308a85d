"""System checks, ``manage.py high_templar`` and ``manage.py ht_check``."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import override_settings
from django.urls import include
from django.urls import path
from shop.mistakes import CachedUrls
from shop.mistakes import CatchAllUrls

from high_templar.django import Room
from high_templar.django import launch
from high_templar.django.checks import check
from high_templar.django.views import BootstrapView
from high_templar.django.views import bootstrap

TESTS = Path(__file__).parent


def ids(**settings):
    with override_settings(**settings):
        return [message.id.rpartition(".")[2] for message in check()]


def of_kit(**members):
    return ids(HIGH_TEMPLAR=members)


class OwnBeforeUrls:
    """A site's own bootstrap view, before that of the kit, whose hooks it wants."""

    def __init__(self):
        kit = path("api/", include("high_templar.django.urls"))
        self.urlpatterns = [path("api/bootstrap/", BootstrapView.as_view()), kit]


class NamespacedUrls:
    def __init__(self, namespace):
        views = [path("bootstrap/", bootstrap, name="bootstrap")]
        inner = include((views, "kit"), namespace) if namespace else include(views)
        self.urlpatterns = [path("v1/", include([path("api/", inner)]))]


class NoHooksUrls:
    urlpatterns = [path("api/bootstrap", bootstrap, name="bootstrap")]  # noqa: RUF012


class TestChecks:
    def test_a_site_as_it_should_be(self):
        assert check() == []

    @pytest.mark.parametrize(
        ("members", "found"),
        [
            ({"UR": "http://127.0.0.1"}, ["E001"]),
            ({"url": "http://127.0.0.1"}, ["E001"]),
            ({"TIMEOUT": "5"}, ["E001"]),
            ({"ATTEMPTS": True}, ["E001"]),
            ({"ON_ERROR": "ignore"}, ["E001"]),
            ({"AUTHENTICATION": "session"}, ["E001"]),
            ({"TIMEOUT": 0}, ["E001"]),
            ({"TIMEOUT": float("inf")}, ["E001"]),
            ({"TIMEOUT": float("nan")}, ["E001"]),
            ({"ATTEMPTS": 0}, ["E001"]),
            ({"API_KEY": "schl\u00fcssel"}, ["E001"]),
            ({"API_KEY": "a\nb"}, ["E001"]),
            ({"API_KEY": b"hidden"}, ["E001"]),
            ({"AUTHENTICATION": [1]}, ["E001"]),
            ({"EXCHANGE": ""}, ["E001"]),
            ({"URL": "redis://:hidden@h"}, ["E004"]),
            ({"URL": "http://127.0.0.1:8002/trigger/"}, []),
            ({"TIMEOUT": 5, "AUTHENTICATION": ("session",), "GATEWAY": {"threads": 1}}, []),
            ({"GATEWAY": {"thread": 1}}, ["E018"]),
            ({"GATEWAY": {"Limits": {"Subscriptions": 1}, "origins": ["a"]}}, []),
            ({"GATEWAY": {"limits": {"subscription": 1}, "log": {"levl": "info"}}}, ["E018"] * 2),
            ({"GATEWAY": {"backend": {"headers": {"X-Own": {"param": "own"}}}}}, []),
            ({"GATEWAY": {"internal": {"api_key_file": "/run/secrets/key"}}}, []),
            ({"ENCODER": "shop.nothing"}, ["E002"]),
            ({"AUTHENTICATION": ["session", "shop.nothing"]}, ["E003"]),
            ({"URL": "gateway:8002"}, ["E004"]),
            ({"BOOTSTRAP": "nothing"}, ["E005"]),
            ({"URL": "http://10.0.0.1:8002"}, ["E008"]),
            ({"URL": "http://gateway:8002"}, ["E008"]),
            ({"URL": "http://gateway:8002", "API_KEY": "key"}, []),
            ({"URL": "http://[::1]:8002"}, []),
            ({"URL": "unix:/run/gateway.sock"}, []),
            ({"PUBLIC_URL": "https://shop.example/ws/"}, ["E009"]),
        ],
    )
    def test_the_setting(self, members, found):
        assert of_kit(**members) == found

    def test_no_check_quotes_a_secret(self):
        for members in ({"API_KEY": b"hidden"}, {"URL": "redis://:hidden@h"}, "hidden"):
            with override_settings(HIGH_TEMPLAR=members):
                assert "hidden" not in str(check())

    def test_a_key_of_the_gateway_is_named_as_it_was_written(self):
        with override_settings(HIGH_TEMPLAR={"GATEWAY": {"limits": {"subscription": 1}}}):
            (message,) = check()
        assert message.msg.startswith("HIGH_TEMPLAR['GATEWAY']['limits']['subscription'] is not")
        assert message.hint == "Did you mean HIGH_TEMPLAR['GATEWAY']['limits']['subscriptions']?"

    def test_without_the_binary(self, monkeypatch):
        launch.known_variables.cache_clear()
        monkeypatch.setenv("HIGH_TEMPLAR_BINARY", "/nowhere")
        assert of_kit(GATEWAY={"thread": 1}) == []

    def test_rabbitmq_without_pika(self, monkeypatch):
        assert of_kit(URL="amqp://broker/") == []
        monkeypatch.setitem(sys.modules, "pika", None)
        assert of_kit(URL="amqp://broker/") == ["E017"]

    def test_no_dict(self):
        assert ids(HIGH_TEMPLAR="http://127.0.0.1") == ["E001"]

    def test_a_near_miss_is_named(self):
        with override_settings(HIGH_TEMPLAR={"API_KEYS": "x"}):
            assert "Did you mean 'API_KEY'?" in check()[0].msg

    def test_a_path_without_slash(self):
        kit = {"BOOTSTRAP": "bootstrap"}
        assert ids(HIGH_TEMPLAR=kit, ROOT_URLCONF=NoHooksUrls) == ["W006"]

    def test_a_login_that_is_required(self, settings):
        middleware = [*settings.MIDDLEWARE, f"{__name__}.LoginRequiredMiddleware"]
        assert ids(MIDDLEWARE=middleware) == []
        assert ids(MIDDLEWARE=middleware, ROOT_URLCONF=CachedUrls()) == ["W019"]

    def test_redirects_to_tls(self):
        kit = {"PUBLIC_URL": "wss://shop.example/ws/"}
        tls = {"HIGH_TEMPLAR": kit, "SECURE_SSL_REDIRECT": True}
        assert ids(**tls) == ["W007"]
        assert ids(**tls, SECURE_REDIRECT_EXEMPT=["^api/bootstrap/$"]) == []
        assert ids(**tls, SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")) == []
        plain = {"PUBLIC_URL": "ws://shop.example/ws/"}
        assert ids(**{**tls, "HIGH_TEMPLAR": plain}) == ["W007", "W010"]

    def test_sessions(self, settings):
        kit = {"PUBLIC_URL": "wss://live.shop.example/ws/"}
        assert ids(MIDDLEWARE=[]) == ["W011", "W011"]
        assert ids(MIDDLEWARE=[], HIGH_TEMPLAR={"AUTHENTICATION": ["token"]}) == []
        assert ids(SESSION_COOKIE_PATH="/app/") == ["W012"]
        assert ids(SESSION_COOKIE_DOMAIN="other.example", HIGH_TEMPLAR=kit) == ["W013"]
        assert ids(SESSION_COOKIE_DOMAIN=".shop.example", HIGH_TEMPLAR=kit) == []
        assert ids(SESSION_COOKIE_SAMESITE="None") == ["W014"]

    def test_atomic_requests(self, settings):
        databases = {"default": {**settings.DATABASES["default"], "ATOMIC_REQUESTS": True}}
        # The connections are made already: only the setting is looked at.
        with pytest.warns(UserWarning, match="DATABASES"):
            found = ids(DATABASES=databases)
        assert found == ["W016"]

    def test_rooms_that_are_the_same_on_the_wire(self, monkeypatch):
        class OrderRoom(Room):
            customer: int

        class LineRoom(Room, target="order"):
            customer: int
            line: int

        assert check() == []
        # As if they belonged to an app.
        monkeypatch.setattr(OrderRoom, "__module__", "shop.other")
        monkeypatch.setattr(LineRoom, "__module__", "shop.other")
        (message,) = check()
        assert message.id == "high_templar.W020"
        assert "shop.rooms.OrderRoom" in message.msg
        assert "shop.other.TestChecks" in message.msg

    def test_targets_that_are_derived_from_capitals(self, monkeypatch):
        class HTTPLogRoom(Room):
            host: str

        class SMSRoom(Room, target="sms"):
            host: str

        monkeypatch.setattr(HTTPLogRoom, "__module__", "shop.other")
        monkeypatch.setattr(SMSRoom, "__module__", "shop.other")
        (message,) = check()
        assert message.id == "high_templar.W021"
        assert 'class HTTPLogRoom(Room, target="httplog")' in message.hint

    @pytest.mark.parametrize("urls", [CatchAllUrls, OwnBeforeUrls])
    def test_another_view_at_the_bootstrap_path(self, settings, urls):
        site = {"ROOT_URLCONF": urls()}
        found = [] if urls is OwnBeforeUrls else ["W022"]
        assert ids(**site) == found
        # The cause, not what follows from it.
        login = f"{__name__}.LoginRequiredMiddleware"
        assert ids(**site, MIDDLEWARE=[*settings.MIDDLEWARE, login]) == found

    def test_another_view_is_named(self):
        with override_settings(ROOT_URLCONF=CatchAllUrls()):
            (message,) = check()
        assert "Another view, shop.mistakes.page, answers at /api/bootstrap/" in message.hint

    def test_the_view_is_found_in_any_namespace(self):
        for namespace, name in [("", "bootstrap"), ("live", "live:bootstrap")]:
            site = {"ROOT_URLCONF": NamespacedUrls(namespace)}
            assert ids(HIGH_TEMPLAR={"BOOTSTRAP": name}, **site) == []


class TestVariables:
    @pytest.fixture
    def variables(self):
        def variables(**settings):
            with override_settings(**settings):
                return launch.variables()

        return variables

    def test_what_follows_from_django(self, variables):
        found = variables(HIGH_TEMPLAR={"API_KEY": "key"})
        assert found["HT_BACKEND__URL"] == "http://127.0.0.1:8000/"
        assert found["HT_BACKEND__BOOTSTRAP"] == "api/bootstrap/"
        assert found["HT_INTERNAL__LISTEN"] == "127.0.0.1:8002"
        assert found["HT_INTERNAL__API_KEY"] == "key"
        assert found["HT_LISTEN"] == "127.0.0.1:5000"
        assert "HT_HOOKS__CONNECT" not in found
        headers = json.loads(found["HT_BACKEND__HEADERS"])
        with override_settings(HIGH_TEMPLAR={"API_KEY": "key"}):
            assert headers == {launch.KEY_HEADER: {"fixed": launch.hook_key()}}
        assert "key" not in found["HT_BACKEND__HEADERS"].replace(launch.KEY_HEADER, "")

    def test_a_host_that_django_serves(self, variables):
        found = variables(ALLOWED_HOSTS=[".shop.example"])
        assert json.loads(found["HT_BACKEND__HEADERS"])["Host"] == {"fixed": "shop.example"}

    def test_a_proxy_that_ends_tls(self, variables):
        header = ("HTTP_X_FORWARDED_PROTO", "https")
        found = variables(SECURE_SSL_REDIRECT=True, SECURE_PROXY_SSL_HEADER=header)
        headers = json.loads(found["HT_BACKEND__HEADERS"])
        assert headers["X-Forwarded-Proto"] == {"fixed": "https"}

    def test_another_csrf_cookie(self, variables):
        found = variables(CSRF_COOKIE_NAME="xsrf")
        assert json.loads(found["HT_BACKEND__HEADERS"])["X-CSRFToken"] == {"cookie": "xsrf"}

    def test_other_addresses(self, variables):
        found = variables(
            HIGH_TEMPLAR={"URL": "unix:///run/ht.sock", "BACKEND_URL": "unix:/a.sock"}
        )
        assert found["HT_INTERNAL__LISTEN"] == "unix:/run/ht.sock"
        assert found["HT_BACKEND__SOCKET"] == "/a.sock"
        found = variables(
            HIGH_TEMPLAR={"URL": "amqp://broker/", "PUBLIC_URL": "wss://a.example/ws/"}
        )
        assert found["HT_RABBITMQ__URL"] == "amqp://broker/"
        assert "HT_INTERNAL__LISTEN" not in found
        assert "HT_LISTEN" not in found

    def test_what_is_said_wins(self, variables):
        gateway = {
            "listen": "0.0.0.0:80",
            "limits": {"subscriptions": 7},
            "backend": {"headers": {"X-Own": {"param": "own"}}},
            "status": {"clients": False},
        }
        found = variables(HIGH_TEMPLAR={"GATEWAY": gateway})
        assert found["HT_LISTEN"] == "0.0.0.0:80"
        assert found["HT_LIMITS__SUBSCRIPTIONS"] == "7"
        assert found["HT_STATUS__CLIENTS"] == "false"
        assert json.loads(found["HT_BACKEND__HEADERS"])["X-Own"] == {"param": "own"}

    def test_pages_that_may_connect(self):
        hosts = {"ALLOWED_HOSTS": [".shop.example", "127.0.0.1", "*"]}
        with override_settings(CSRF_TRUSTED_ORIGINS=["https://a.example"], **hosts):
            pages = ["https://a.example", "shop.example", "*.shop.example", "127.0.0.1"]
            assert launch.origins() == pages
        with override_settings(ALLOWED_HOSTS=[], DEBUG=True):
            assert launch.origins() == ["localhost", "*.localhost", "127.0.0.1", "[::1]"]

    @pytest.mark.parametrize("origins", [None, ["https://a.example"], {"require": True}])
    def test_the_binary_understands_them(self, variables, tmp_path, origins):
        gateway = {} if origins is None else {"origins": origins}
        found = variables(HIGH_TEMPLAR={"GATEWAY": gateway})
        if origins is None:
            assert set(found) <= launch.known_variables()
        # Nothing serves the site: the configuration is right all the same.
        ran = subprocess.run(
            [launch.find_binary(), "check"],
            env=found,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode != 78, ran.stderr


def test_the_command_prints_without_secrets(capsys, settings):
    settings.HIGH_TEMPLAR = {"API_KEY": "hidden"}
    call_command("high_templar", "--print", "--backend", "http://127.0.0.1:9000")
    shown = capsys.readouterr().out
    assert "HT_BACKEND__URL=http://127.0.0.1:9000/\n" in shown
    assert "HT_INTERNAL__API_KEY=(not shown)\n" in shown
    assert "hidden" not in shown
    assert launch.hook_key() not in shown


def test_the_command_prints_what_is_no_secret(capsys, settings):
    headers = {"X-Own": {"fixed": "seen"}, "X-Secret": {"fixed": "hidden"}}
    settings.ALLOWED_HOSTS = ["shop.example"]
    settings.HIGH_TEMPLAR = {
        "URL": "amqp://user:hidden@broker/",
        "GATEWAY": {"backend": {"headers": headers}},
    }
    call_command("high_templar", "--print")
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if line.startswith("HT_BACKEND__HEADERS=")]
    assert json.loads(line.partition("=")[2]) == {
        "Host": {"fixed": "shop.example"},
        "X-High-Templar-Key": {"fixed": "(not shown)"},
        "X-Own": {"fixed": "seen"},
        "X-Secret": {"fixed": "(not shown)"},
    }
    assert "HT_RABBITMQ__URL=amqp://(not shown)@broker/\n" in shown
    assert "hidden" not in shown
    call_command("high_templar", "--print", "--secrets")
    shown = capsys.readouterr().out
    assert launch.hook_key() in shown
    assert "amqp://user:hidden@broker/" in shown


def test_the_command_becomes_the_gateway():
    ran = subprocess.run(
        [sys.executable, "-m", "django", "high_templar", "config", "--toml"],
        cwd=TESTS,
        env={"DJANGO_SETTINGS_MODULE": "shop.settings", **path_variables()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith("# Settings of high-templar.")


def test_a_reload_does_not_read_settings_py():
    """The command says so, and so does the gateway when it is asked to reload."""
    command = subprocess.Popen(
        [sys.executable, "-m", "django", "high_templar"],
        cwd=TESTS,
        env={
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "HT_LISTEN": "127.0.0.1:0",
            "HT_INTERNAL__LISTEN": "127.0.0.1:0",
            **path_variables(),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(command.stderr.readline, "")
        assert "restart this command after a change" in next(lines)
        assert any("health are on" in line for line in lines)
        command.send_signal(signal.SIGHUP)
        assert any("settings.py is read at start only" in line for line in lines)
    finally:
        command.kill()
        command.communicate()


def path_variables():
    import os

    names = ("PATH", "PYTHONPATH", "HIGH_TEMPLAR_BINARY")
    return {name: os.environ[name] for name in names if name in os.environ}


@pytest.mark.parametrize("arguments", [["high_templar", "--print"], ["ht_check"]])
def test_a_system_check_is_printed_once(tmp_path, arguments):
    (tmp_path / "careless.py").write_text(
        "from shop.settings import *\nSESSION_COOKIE_SAMESITE = 'None'\n"
    )
    environment = {**path_variables(), "SHOP_DATABASE": str(tmp_path / "shop.sqlite3")}
    environment["DJANGO_SETTINGS_MODULE"] = "careless"
    environment["PYTHONPATH"] = f"{tmp_path}:{environment.get('PYTHONPATH', '')}"
    for command in (["migrate", "--verbosity", "0", "--skip-checks"], arguments):
        ran = subprocess.run(
            [sys.executable, "-m", "django", *command],
            cwd=TESTS,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (ran.stdout + ran.stderr).count("high_templar.W014") == 1
