"""Starts a program in an image: ``enter.py ROOT UID:GID FOLDER PROGRAM ARGUMENTS...``.

In a mount namespace of its own, where the root cannot be written and there is /proc; without
capabilities and without a way to get new privileges.
"""

import ctypes
import os
import sys

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_NO_NEW_PRIVS = 38

libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _mount(source: str, target: str, flags: int) -> None:
    _check(libc.mount(source.encode(), target.encode(), None, flags, None), f"mount {target}")


def main() -> None:
    """Becomes the program."""
    root, user, folder, *command = sys.argv[1:]
    uid, gid = (int(number) for number in user.split(":"))
    os.makedirs(f"{root}/proc", exist_ok=True)
    _check(libc.unshare(CLONE_NEWNS), "unshare")
    _mount("none", "/", MS_REC | MS_PRIVATE)
    _mount(root, root, MS_BIND)
    _mount("/proc", f"{root}/proc", MS_BIND | MS_REC)
    _mount(root, root, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chroot(root)
    os.chdir(folder)
    os.setgroups([])
    os.setgid(gid)
    # The kernel drops all capabilities with it.
    os.setuid(uid)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    os.execve(command[0], command, os.environ)  # noqa: S606


if __name__ == "__main__":
    main()
