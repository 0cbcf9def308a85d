"""The image: its Containerfile linted, its steps carried out, and what they make run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from containerfile import Stage
from containerfile import carry_out
from containerfile import parse
from support import BINARY
from support import ROOT
from support import WORK
from support import Api
from support import Program
from support import eventually
from support import free_port
from support import version

FILE = ROOT / "packaging/container/Containerfile"
LINTED = (FILE, ROOT / "examples/django-orders/Containerfile")
DEBIAN = WORK / "debian"


def mirror() -> str:
    """The mirror of Debian that this machine's apt uses."""
    output = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    sites = [line.split("|")[0] for line in output.splitlines() if line.endswith("|bookworm")]
    assert sites, "apt has no source for bookworm"
    return sites[0]


def debian() -> Path:
    """A fresh minimal Debian 12, as the image debian:bookworm-slim is one."""
    if not (DEBIAN / "complete").exists():
        shutil.rmtree(DEBIAN, ignore_errors=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", "bookworm", str(DEBIAN / "root"), mirror()],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        # How this machine reaches the mirror.
        (DEBIAN / "root/etc/apt/sources.list").unlink()
        for name in ("sources.list", "sources.list.d", "apt.conf.d", "preferences.d"):
            source, target = Path("/etc/apt") / name, DEBIAN / "root/etc/apt" / name
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy(source, target)
        shutil.copytree("/usr/share/keyrings", DEBIAN / "root/usr/share/keyrings", dirs_exist_ok=True)
        (DEBIAN / "complete").touch()
    return DEBIAN / "root"


class ContainerTest(unittest.TestCase):
    """Builds the image once."""

    folder: Path
    final: Stage
    image: Path

    @classmethod
    def setUpClass(cls) -> None:
        """Carries out the steps of the stages, except the build of the binary."""
        cls.folder = Path(tempfile.mkdtemp(dir=WORK))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        build, root, cls.final = parse(FILE.read_text())
        assert build.name == "build" and root.name == "root" and cls.final.base == "scratch"
        assert root.base == "docker.io/library/debian:bookworm-slim", root.base

        stage = cls.folder / "root"
        subprocess.run(["cp", "-a", str(debian()), str(stage)], check=True)
        shutil.copy("/etc/resolv.conf", stage / "etc/resolv.conf")
        carry_out(root, stage, {})

        # The binary is what this machine has built; the stage would build the same source.
        built = cls.folder / "build"
        target = built / "source/target/dist/high-templar"
        target.parent.mkdir(parents=True)
        subprocess.run(["objcopy", "--strip-all", BINARY, str(target)], check=True)
        cls.image = cls.folder / "image"
        cls.image.mkdir()
        carry_out(cls.final, cls.image, {"root": stage, "build": built})

    def inside(self, arguments: list[str]) -> list[str]:
        """A command in the image: its user, its folder, and nothing that can be written."""
        user = self.final.last("USER")
        folder = self.final.last("WORKDIR")
        return [
            sys.executable,
            str(Path(__file__).with_name("enter.py")),
            str(self.image),
            user,
            folder,
            *arguments,
        ]

    def run_inside(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the entry point with arguments to its end."""
        return subprocess.run(
            self.inside([*self.final.words("ENTRYPOINT"), *arguments]),
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_containerfiles_have_no_findings(self) -> None:
        """By hadolint."""
        hadolint = Path(sys.executable).with_name("hadolint")
        for file in LINTED:
            found = subprocess.run([hadolint, file], capture_output=True, text=True)
            self.assertEqual((found.returncode, found.stdout), (0, ""), file)

    def test_images_are_named_with_the_version_of_the_gateway(self) -> None:
        """Wherever somebody copies the command from."""
        files = (*LINTED, ROOT / "packaging/container/compose.yaml", ROOT / "docs/install-container.md")
        for file in files:
            for name in re.findall(r"high-templar(?:-orders)?:([0-9.]+[0-9])", file.read_text()):
                self.assertEqual(name, version(), file)
        self.assertIn(f'image.version="{version()}"', self.final.last("LABEL"))

    def test_the_image_has_no_shell_and_no_setuid_file(self) -> None:
        """What an intruder would use."""
        files = [path for path in self.image.rglob("*") if path.is_file() and not path.is_symlink()]
        programs = [path for path in files if os.access(path, os.X_OK) and ".so" not in path.name]
        names = {path.name for path in programs}
        self.assertIn("high-templar", names)
        self.assertEqual(names & {"sh", "bash", "dash", "busybox", "apt-get", "perl"}, set())
        self.assertEqual([path for path in files if path.stat().st_mode & 0o6000], [])
        kilobytes = sum(path.stat().st_size for path in files if path.name != "high-templar") >> 10
        self.assertLess(kilobytes, 40 << 10, "beside the binary")

    def test_scanners_find_the_packages(self) -> None:
        """As in other images without a package manager."""
        folder = self.image / "var/lib/dpkg/status.d"
        for name in ("libc6", "libgcc-s1", "tzdata"):
            self.assertIn(f"Package: {name}\n", (folder / name).read_text())

    def test_certificates_and_time_zones_are_there(self) -> None:
        """For an API with TLS, and for bills."""
        bundle = (self.image / "etc/ssl/certs/ca-certificates.crt").read_text()
        self.assertGreater(bundle.count("BEGIN CERTIFICATE"), 50)
        self.assertTrue((self.image / "usr/share/zoneinfo/Europe/Amsterdam").exists())

    def test_it_prints_its_version_and_explains_a_missing_setting(self) -> None:
        """The first things that somebody tries."""
        found = self.run_inside("--version")
        self.assertRegex(found.stdout, r"^high-templar 4\.")
        found = self.run_inside(*self.final.words("CMD"))
        self.assertEqual(found.returncode, 78, found)
        self.assertIn("backend.url", found.stderr)

    def test_it_serves_is_healthy_and_ends_by_the_stop_signal(self) -> None:
        """As an engine would start, watch and stop it."""
        api = Api()
        self.addCleanup(api.stop)
        internal = free_port()
        environment = {
            "HT_BACKEND__URL": api.url,
            "HT_LISTEN": "127.0.0.1:0",
            "HT_INTERNAL__LISTEN": f"127.0.0.1:{internal}",
        }
        interval, _, command = self.final.last("HEALTHCHECK").partition(" CMD ")
        self.assertIn("--interval=", interval)
        health = self.inside(json.loads(command))

        def check() -> subprocess.CompletedProcess[str]:
            return subprocess.run(health, env=environment, capture_output=True, text=True)

        self.assertEqual(check().returncode, 1, "nothing runs yet")
        arguments = [*self.final.words("ENTRYPOINT"), *self.final.words("CMD")]
        gateway = Program(self.inside(arguments), self.folder, env=environment)
        self.addCleanup(gateway.stop)
        eventually("it is healthy", lambda: check().returncode == 0)
        ready = self.run_inside("health", "--ready", **environment)
        self.assertEqual(ready.returncode, 0, ready)
        owner = os.stat(f"/proc/{gateway.process.pid}").st_uid
        self.assertEqual(str(owner), self.final.last("USER").split(":")[0])
        self.assertEqual(self.final.last("STOPSIGNAL"), "SIGTERM")
        self.assertEqual(gateway.stop(), 0, gateway.said())
        self.assertIn("shutdown complete", gateway.said())
        self.assertEqual(check().returncode, 1)


if __name__ == "__main__":
    unittest.main()
