"""The Debian package: installed, configured, started, upgraded and purged in a Debian of its own."""

import re
import shutil

import pytest
from debian import Root
from document import blocks
from machine import ROOT
from machine import api
from machine import delivers
from machine import run

PAGE = ROOT / "docs/install-debian.md"
SETTINGS = "/etc/high-templar/high-templar.toml"
SECRETS = "/etc/high-templar/environment"
UNITS = ("high-templar.service", "high-templar.socket", "high-templar-internal.socket")
# What `systemd-analyze security` may say of the service, from 0 (safe) to 10.
EXPOSURE_MAX = 1.5
# Exit status for settings that cannot be used, after which systemd does not try again.
UNUSABLE = 78


@pytest.fixture(scope="module")
def deb(one):
    """The package under test."""
    return one("high-templar_*.deb")


@pytest.fixture(scope="module")
def older(deb, tmp_path_factory):
    """The same package as an older version, whose settings differ from those of the new one."""
    folder = tmp_path_factory.mktemp("older")
    run("dpkg-deb", "-R", deb, folder / "package")
    control = folder / "package/DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 3.99.0", control.read_text(), flags=re.M))
    settings = folder / f"package{SETTINGS}"
    settings.write_text("# Settings of an older version.\n" + settings.read_text())
    sums = folder / "package/DEBIAN/md5sums"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if SETTINGS[1:] not in line))
    old = folder / "high-templar_3.99.0_old.deb"
    run("dpkg-deb", "--root-owner-group", "-b", folder / "package", old)
    return old


@pytest.fixture
def root(tmp_path):
    """An empty Debian."""
    made = Root(tmp_path)
    yield made
    shutil.rmtree(made.path, ignore_errors=True)


def is_enabled(root):
    """Whether systemd would start one of the units when the machine starts."""
    found = root.run("find", "/etc/systemd/system", "-name", "high-templar*")
    return bool(found.strip())


def edit(root, address):
    """What an administrator changes: the API's address, and ports that are free."""
    settings = root.file(SETTINGS)
    text, count = re.subn(r'^#url = "http.*$', f'url = "{address}"', settings.read_text(), flags=re.M)
    assert count == 1
    text = re.sub(r'^#listen = "0\.0\.0\.0:5000"$', 'listen = "127.0.0.1:0"', text, flags=re.M)
    text = re.sub(r'^#listen = "127\.0\.0\.1:8002"$', 'listen = "127.0.0.1:0"', text, flags=re.M)
    assert text.count('listen = "127.0.0.1:0"') == 2
    settings.write_text(text)


def command_of_the_unit(root):
    """What systemd would start, and with it the user and the file of secrets."""
    unit = root.file(f"/usr/lib/systemd/system/{UNITS[0]}").read_text()
    return re.search(r"^ExecStart=(.*)$", unit, re.M)[1].split()


def test_lintian_finds_nothing(deb):
    run("lintian", "--fail-on", "error,warning", "--allow-root", "--tag-display-limit", "0", deb)


def test_package_is_installed_as_the_page_says(deb, root, version):
    before = root.files()
    shutil.copy(deb, root.file("/root"))
    first = next(block for block in blocks(PAGE) if block.language == "sh")
    assert deb.name in first.text, f"{PAGE.name} names another file than {deb.name}"
    printed = root.run("sh", "-euc", f"cd /root; {first.text}")
    assert f"high-templar {version}\n" in printed
    assert "name your API in" in printed

    assert root.run("dpkg", "--verify", "high-templar") == ""
    entry = root.run("getent", "passwd", "high-templar").strip().split(":")
    assert entry[5:] == ["/var/lib/high-templar", "/usr/sbin/nologin"]
    modes = root.run("stat", "--format", "%a %U", "/usr/bin/high-templar", SETTINGS, SECRETS)
    assert modes.splitlines() == ["755 root", "644 root", "600 root"]
    assert root.run("dpkg-query", "--show", "--showformat", "${Conffiles}", "high-templar").split()[::2] == [SETTINGS]
    for path in ("man/man1/high-templar.1.gz", "bash-completion/completions/high-templar",
                 "zsh/vendor-completions/_high-templar", "fish/vendor_completions.d/high-templar.fish",
                 "doc/high-templar/README.Debian", "doc/high-templar/THIRD-PARTY.txt"):
        assert root.file(f"/usr/share/{path}").stat().st_size > 100, path

    # Without an API there is nothing to start, and nothing is.
    assert not is_enabled(root)
    status, printed = root.fails(*command_of_the_unit(root))
    assert status == UNUSABLE, printed
    assert "backend.url" in printed

    root.run("apt-get", "purge", "-y", "high-templar")
    user_and_group = {"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"}
    assert root.files() - before - user_and_group == set()


def test_units_are_understood_and_safe(deb, root):
    root.install(deb)
    # From outside, as systemd's tools look at the machine that they run on.
    printed = run("systemd-analyze", "verify", "--man=no", f"--root={root.path}", *UNITS)
    assert "high-templar" not in printed, printed
    unit = root.file(f"/usr/lib/systemd/system/{UNITS[0]}")
    printed = run("systemd-analyze", "security", "--no-pager", "--offline=yes", unit)
    level = re.search(r"Overall exposure level for high-templar\.service: ([\d.]+)", printed)
    assert float(level[1]) <= EXPOSURE_MAX, printed


def test_gateway_runs_as_its_user(deb, root):
    root.install(deb)
    with api() as address:
        edit(root, address)
        with root.file(SECRETS).open("a") as secrets:
            secrets.write("HT_LOG__FORMAT=text\n")
        # Readable by root only: systemd reads it before it changes the user.
        lines = [line for line in root.file(SECRETS).read_text().splitlines() if not line.startswith("#")]
        how = {"user": "high-templar", "variables": dict(line.split("=", 1) for line in lines)}
        assert root.fails("cat", SECRETS, user="high-templar")
        assert "Everything works." in root.run("high-templar", "check", "--config", SETTINGS, **how)
        gateway = root.start(*command_of_the_unit(root), **how)
        try:
            delivers(root.file("/usr/bin/high-templar"), gateway)
        finally:
            status = gateway.end()
        assert status == 0, gateway.lines


def test_upgrade_keeps_what_was_changed(older, deb, root, version):
    root.install(older)
    edit(root, "http://api.internal/")
    edited = root.file(SETTINGS).read_text()
    secret = "HT_INTERNAL__API_KEY='not yours'\n"
    root.file(SECRETS).write_text(secret)
    printed = root.install(deb)
    assert "name your API" not in printed
    assert root.run("high-templar", "--version") == f"high-templar {version}\n"
    assert root.file(SETTINGS).read_text() == edited
    assert "Settings of an older version" not in root.file(f"{SETTINGS}.dpkg-dist").read_text()
    assert root.file(SECRETS).read_text() == secret
    assert root.run("stat", "--format", "%a", SECRETS) == "600\n"
    assert not is_enabled(root)


def test_upgrade_renews_what_was_not(older, deb, root):
    root.install(older)
    assert root.file(SETTINGS).read_text().startswith("# Settings of an older version.")
    root.install(deb)
    assert not root.file(SETTINGS).read_text().startswith("# Settings of an older version.")


def test_enabled_units_stay_enabled_until_they_are_removed(older, deb, root):
    root.install(older)
    root.run("systemctl", "enable", *UNITS)
    root.install(deb)
    for unit in UNITS:
        assert root.run("systemctl", "is-enabled", unit) == "enabled\n"
    root.run("apt-get", "remove", "-y", "high-templar")
    assert root.file(SETTINGS).exists()
    root.run("apt-get", "purge", "-y", "high-templar")
    assert not root.file("/etc/high-templar").exists()
    assert not is_enabled(root)


def test_purge_spares_what_the_package_did_not_make(deb, root):
    root.install(deb)
    root.file("/etc/high-templar/ca.pem").write_text("a certificate\n")
    root.run("apt-get", "purge", "-y", "high-templar")
    assert root.run("ls", "/etc/high-templar") == "ca.pem\n"
