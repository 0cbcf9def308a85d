"""The JavaScript client among a site's static files."""

import json
import re

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.template import Context
from django.template import Engine
from django.test import override_settings

STORAGES = [
    "django.contrib.staticfiles.storage.StaticFilesStorage",
    "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
    "whitenoise.storage.CompressedManifestStaticFilesStorage",
]


@pytest.fixture(params=STORAGES)
def collected(request, settings, tmp_path):
    """The folder into which a site collected its static files."""
    if request.param.startswith("whitenoise"):
        pytest.importorskip("whitenoise")
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.staticfiles"]
    settings.STATIC_ROOT = str(tmp_path)
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": request.param}}
    finders.get_finder.cache_clear()
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path


def render(text, **context):
    engine = Engine(libraries={"high_templar": "high_templar.django.templatetags.high_templar"})
    return engine.from_string("{% load high_templar %}" + text).render(Context(context))


def test_it_is_collected_and_the_page_imports_it(collected):
    shown = render("{% high_templar_client %}")
    found = re.fullmatch('<script type="importmap">(.*)</script>', shown)
    imports = json.loads(found[1])["imports"]
    assert imports["@high-templar/client/live"] == imports["@high-templar/client"]
    imported = imports["@high-templar/client"].removeprefix("/static/")
    source = (collected / imported).read_text()
    assert "sourceMappingURL" not in source
    assert re.search(r"\bexport\s*{[^}]*\bHighTemplar\b", source)
    assert re.search(r"\bexport\s*{[^}]*\blive\b", source)


def test_a_content_security_policy():
    class Request:
        csp_nonce = "of the request"

    assert ' nonce="a&quot;b"' in render("{% high_templar_client %}", csp_nonce='a"b')
    assert ' nonce="of the request"' in render("{% high_templar_client %}", request=Request())
    assert ' nonce="given"' in render('{% high_templar_client nonce="given" %}', csp_nonce="x")


@override_settings(STATIC_URL="/a</script>b/")
def test_nothing_ends_the_script():
    assert render("{% high_templar_client %}").count("</script>") == 1


@override_settings(HIGH_TEMPLAR={"PUBLIC_URL": "wss://live.example/ws/?a&b"})
def test_the_address_of_the_gateway():
    shown = render('<body data-url="{% high_templar_url %}">')
    assert shown == '<body data-url="wss://live.example/ws/?a&amp;b">'
