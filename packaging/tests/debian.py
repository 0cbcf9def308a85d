"""A Debian in a folder, in which a package is installed as on a machine of its own."""

import os
import shutil
import subprocess
from pathlib import Path

from machine import COMMAND_SECONDS
from machine import Program
from machine import run

WORK = Path(os.environ["HT_PACKAGING_WORK"])
RELEASE = "bookworm"
# What the package depends on, so that nothing is fetched when it is installed.
PACKAGES = "systemd,procps,ca-certificates"
# The root is a mount namespace's own; its processes and mounts end with the command.
ENTER = """
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
root=$1
shift
exec chroot "$root" "$@"
"""
VARIABLES = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


def as_root(*command):
    """A command with the rights to make a root and to enter it."""
    return command if os.geteuid() == 0 else ("sudo", *command)


def mirror():
    """Where this machine's own apt has the packages of this release from."""
    targets = ("indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages")
    lines = run("apt-get", *targets).splitlines()
    found = [address for name, address in map(str.split, lines) if name == RELEASE]
    assert found, f"no source of this machine's apt has {RELEASE}"
    return found[0]


def fresh():
    """A minimal Debian, made once and kept."""
    root = WORK / RELEASE
    done = WORK / f"{RELEASE}.done"
    if not (done.exists() and done.read_text() == PACKAGES):
        run(*as_root("rm", "-rf", root))
        run(*as_root("unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, root, mirror()))
        done.write_text(PACKAGES)
    return root


class Inside(Program):
    """A program of a root: `unshare` has started it, and ends with it."""

    def terminate(self):
        """Asks the innermost process; the first one of a namespace has no parent that would pass a signal on."""
        pid = self.pid
        while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pid = children[0]
        run(*as_root("kill", pid))


class Root:
    """A copy of it, for one test."""

    def __init__(self, folder):
        self.path = folder / "root"
        run(*as_root("cp", "-a", "--reflink=auto", fresh(), self.path))

    def command(self, *words, user=None, variables=None):
        """A command inside, as a list for `subprocess`."""
        variables = {**VARIABLES, **(variables or {})}
        settings = [f"{name}={value}" for name, value in variables.items()]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", ENTER, "sh"]
        return as_root(*enter, self.path, "env", "-i", *settings, *become, *words)

    def run(self, *words, **how):
        """What a command prints; it must succeed."""
        return run(*self.command(*words, **how))

    def fails(self, *words, **how):
        """The status of a command that must not succeed, and what it prints."""
        command = [str(word) for word in self.command(*words, **how)]
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=COMMAND_SECONDS,
        )
        assert ended.returncode != 0, ended.stdout
        return ended.returncode, ended.stdout

    def start(self, *words, **how):
        """A program that goes on."""
        return Inside(*self.command(*words, **how))

    def file(self, path):
        """A file of this root, as a path of the machine's."""
        return self.path / path.lstrip("/")

    def install(self, deb):
        """Installs a file, as apt does without anybody to ask: settings that were changed are kept."""
        shutil.copy(deb, self.file("/tmp"))
        return self.run("apt-get", "install", "-y", "-o", "Dpkg::Options::=--force-confold",
                        "-o", "Dpkg::Options::=--force-confdef", f"/tmp/{deb.name}")

    def files(self):
        """Every file and folder that a package may make, without what apt and dpkg note down."""
        listed = self.run("find", "/etc", "/usr", "/var", "/lib", "/run", "-xdev")
        notes = ("/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log", "/var/lib/systemd")
        return {line for line in listed.splitlines() if not line.startswith(notes)}
