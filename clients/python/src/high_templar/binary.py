"""Finds and runs the gateway's binary that came with this package."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

NAME = "high-templar"
VARIABLE = "HIGH_TEMPLAR_BINARY"


class BinaryNotFoundError(FileNotFoundError):
    """The gateway's binary was not found."""


def find_binary() -> str:
    """The path of the gateway's binary.

    Looks at the variable ``HIGH_TEMPLAR_BINARY``, then beside this Python, where pip puts it,
    then on the ``PATH``. Raises `BinaryNotFoundError`.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if os.access(named, os.X_OK):
            return named
        raise BinaryNotFoundError(f"{VARIABLE} is {named}, which is not executable")
    for folder in _folders():
        path = folder / NAME
        if os.access(path, os.X_OK) and path.is_file():
            return str(path)
    found = shutil.which(NAME)
    if found:
        return found
    raise BinaryNotFoundError(
        f"there is no {NAME} beside {sys.executable}: install the package from a wheel, "
        f"or name the binary in {VARIABLE}"
    )


def _folders() -> Iterator[Path]:
    """Folders of installed programs: of this environment, of `--user`, of `--target`."""
    yield Path(sysconfig.get_path("scripts"))
    user = sysconfig.get_preferred_scheme("user") if sys.version_info >= (3, 10) else "posix_user"
    yield Path(sysconfig.get_path("scripts", user))
    yield Path(__file__).parent.parent / "bin"


def execute(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> NoReturn:
    """Replaces this process by the gateway with these arguments."""
    path = find_binary()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(path, [NAME, *arguments], dict(os.environ if environment is None else environment))  # noqa: S606
