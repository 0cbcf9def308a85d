"""Settings of the example: what concerns live updates is at the end."""

import os
from pathlib import Path
from urllib.parse import unquote
from urllib.parse import urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent
SITE_PORT = os.environ.get("SITE_PORT", "8000")
GATEWAY_PORT = os.environ.get("GATEWAY_PORT", "5000")
TRIGGER_PORT = os.environ.get("TRIGGER_PORT", "8002")
# In containers, the two have other names than 127.0.0.1.
SITE_URL = os.environ.get("SITE_URL", f"http://127.0.0.1:{SITE_PORT}")
GATEWAY_URL = os.environ.get("GATEWAY_URL", f"http://127.0.0.1:{TRIGGER_PORT}")

# An example on one's own machine: a real site has a secret, and no DEBUG.
SECRET_KEY = "only for the example"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost", *os.environ.get("SITE_HOSTS", "").split()]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "high_templar.django",
    "orders",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    # Pages know up to which publication their data are.
    "high_templar.django.middleware.PositionMiddleware",
]
ROOT_URLCONF = "config.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def database(url: str) -> dict[str, object]:
    """What ``DATABASE_URL`` says (``postgresql://user:password@host/name``), or an SQLite file."""
    parts = urlsplit(url)
    if parts.scheme in ("postgresql", "postgres"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": parts.port or "",
        }
    if parts.scheme not in ("", "sqlite"):
        raise ValueError(f"DATABASE_URL begins with {parts.scheme}: it is to be postgresql://")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": parts.path or BASE_DIR / "db.sqlite3",
        # Writers wait for each other instead of failing, and readers for nobody.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
        },
    }


DATABASES = {"default": database(os.environ.get("DATABASE_URL", ""))}
# With PostgreSQL, what is published is committed with the data, and all nodes read it there.
OUTBOX = DATABASES["default"]["ENGINE"].endswith("postgresql")
if OUTBOX:
    INSTALLED_APPS.append("high_templar.django.postgres")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "orders.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "board"
LOGOUT_REDIRECT_URL = "login"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"

HIGH_TEMPLAR = {
    # Where this site publishes, where browsers connect, and where the gateway finds this site.
    "URL": GATEWAY_URL,
    "PUBLIC_URL": f"ws://127.0.0.1:{GATEWAY_PORT}/ws/",
    "BACKEND_URL": SITE_URL,
    # How long a request waits for the gateway at most, in seconds.
    "TIMEOUT": float(os.environ.get("PUBLISH_TIMEOUT", "0.5")),
    "OUTBOX": OUTBOX,
    # A room that fits no class of orders/rooms.py is a mistake.
    "TYPED_ROOMS": DEBUG,
}
