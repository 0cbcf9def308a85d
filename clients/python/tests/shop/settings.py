"""Settings of the site."""

import importlib.util
import os

SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "shop.example"]
ROOT_URLCONF = "shop.urls"
HAS_REST_FRAMEWORK = importlib.util.find_spec("rest_framework") is not None
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    *(["rest_framework", "rest_framework.authtoken"] if HAS_REST_FRAMEWORK else []),
    "high_templar.django",
    "high_templar.django.postgres",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", ":memory:"),
        "OPTIONS": {"timeout": 20},
    },
    "archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
STATIC_URL = "/static/"
HIGH_TEMPLAR = {"ON_ERROR": "raise", "TIMEOUT": 10}
