"""The usual deployment, for every test anew but for the shop and RabbitMQ."""

import pytest

import worlds


@pytest.fixture(scope="session")
def rabbitmq():
    return worlds.RabbitMq()


@pytest.fixture(scope="session")
def shop_of_the_run(rabbitmq, tmp_path_factory):
    variables = {
        "HIGH_TEMPLAR_URL": f"http://127.0.0.1:{worlds.free_port()}",
        "HIGH_TEMPLAR_RABBITMQ": rabbitmq.url,
    }
    shop = worlds.Shop(tmp_path_factory.mktemp("shop"), variables).start()
    yield shop
    shop.stop()


@pytest.fixture
def shop(shop_of_the_run):
    """The shop, with nobody online and nothing remembered of calls."""
    shop_of_the_run.forget()
    return shop_of_the_run


@pytest.fixture
def env_file(shop, rabbitmq):
    """The `.env` of a deployment with `serve.py`: TLS ends before backend and gateway."""
    return {
        "APP_URL": "https://shop.example",
        "BINDER_INTERNAL": shop.behind_tls,
        "RABBITMQ_HOST": rabbitmq.host,
        "RABBITMQ_USERNAME": "rabbitmq",
        "RABBITMQ_PASSWORD": "rabbitmq",
        "LOGFILE_PATH": "/var/log/high-templar.log",
        "LOGFILE_LEVEL": "DEBUG",
    }


@pytest.fixture
def deploy(shop, tmp_path):
    """Starts gateways; they end with the test."""
    started = []

    def deploy(env_file, variables=None, wait=True):
        internal_port = shop.variables["HIGH_TEMPLAR_URL"].rpartition(":")[2]
        gateway = worlds.Gateway(tmp_path, env_file, variables, int(internal_port))
        started.append(gateway)
        return gateway.start(wait)

    yield deploy
    for gateway in started:
        gateway.end()


@pytest.fixture
def gateway(deploy, env_file):
    return deploy(env_file)


@pytest.fixture
def drop_in():
    """Whether pages have the client that takes the old one's place."""
    return False


@pytest.fixture
def open_page(drop_in):
    """Opens pages; they are closed with the test."""
    opened = []

    def open_page(gateway, cookies=None, **options):
        opened.append(worlds.Page(gateway.url, cookies, dropIn=drop_in, **options))
        return opened[-1]

    yield open_page
    for page in opened:
        page.end(worlds.signal.SIGKILL)
