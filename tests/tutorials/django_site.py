"""The site of docs/tutorial-django.md: how it is made, and its users."""

import http.cookiejar
import re
import urllib.parse
import urllib.request

from reader import eventually


def sign_in(site, name):
    """The cookies of somebody who signed in; the passwords of the tutorial are the names."""
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    form = browser.open(f"{site}/login/").read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[1]
    fields = {"username": name, "password": name, "csrfmiddlewaretoken": token}
    browser.open(f"{site}/login/", urllib.parse.urlencode(fields).encode())
    return {cookie.name: cookie.value for cookie in jar}


def create_site(reader, chapters):
    """An existing site, with orders and two users."""
    for block in [*chapters["1. Install"], *chapters["2. Create a site to try it on"]]:
        reader.carry_out(block)


def wait_for_subscriptions(reader, count):
    """Waits until the gateway counts this many."""

    def counted():
        metrics = reader.run("curl -sS http://127.0.0.1:8002/metrics")
        return re.search(rf"^high_templar_subscriptions(?:\{{.*\}})? {count}$", metrics, re.M)

    eventually(counted, f"subscription {count}")
