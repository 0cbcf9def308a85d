"""Settings of the shop: sessions, tokens, CSRF on, SQLite."""

import os

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "shop.visitors.by_header",
    "django.middleware.csrf.CsrfViewMiddleware",
]
# The address that browsers know: requests over TLS must come from its pages.
CSRF_TRUSTED_ORIGINS = ["https://shop.example"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SHOP_DATABASE"],
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"pika": {"level": "CRITICAL"}},
}

HIGH_TEMPLAR_URL = os.environ.get("HIGH_TEMPLAR_URL")
HIGH_TEMPLAR_RABBITMQ = os.environ.get("HIGH_TEMPLAR_RABBITMQ")
