"""The wheel and the source of the Python package, in empty environments of several Pythons."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest
from document import blocks
from machine import ENVIRONMENT
from machine import ROOT
from machine import run
from machine import serves

# Of PyPI's limit for a file, a tenth.
WHEEL_BYTES_MAX = 10_000_000
PYTHONS = ("3.9", "3.11", "3.13")
PAGE = ROOT / "docs/install-pip.md"
TOOLS = Path(os.environ["HT_PACKAGING_WORK"]) / "venv/bin"


def interpreter(version):
    """A Python of this version, of the system or of pyenv; None if there is none."""
    pyenv = Path(ENVIRONMENT.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for path in filter(None, candidates):
        # A shim of pyenv may be found where its version is not in use.
        ended = subprocess.run([path, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
        if ended.returncode == 0 and ended.stdout.strip() == version:
            return path
    return None


def wheel_of(one):
    """The wheel of this kind of machine."""
    return one("high_templar-*-manylinux*.whl")


@pytest.mark.parametrize("python", PYTHONS)
def test_wheel(one, python, tmp_path):
    """As the page says, in a folder with nothing but the wheel."""
    path = interpreter(python)
    if not path:
        pytest.skip(f"NOT TESTED with Python {python}: this machine has none")
    shutil.copy(wheel_of(one), tmp_path)
    first = next(block for block in blocks(PAGE) if block.language == "sh")
    lines = first.text.replace("python3 -m venv", f"{path} -m venv")
    assert lines != first.text
    # Nothing is fetched: the package needs no other.
    printed = run("bash", "-euc", lines, cwd=tmp_path, env={**ENVIRONMENT, "PIP_NO_INDEX": "1"})
    assert re.search(r"high-templar \d+\.\d+\.\d+\n\Z", printed), printed
    installed = tmp_path / "venv/bin"
    assert f"Python {python}." in run(installed / "python", "--version")
    assert run(installed / "python", "-m", "high_templar", "--version").startswith("high-templar ")
    run(installed / "pip", "check")
    run(installed / "python", ROOT / "clients/python/tests/alone.py", cwd="/")
    serves(installed / "high-templar", tmp_path)
    run(installed / "pip", "uninstall", "--yes", "high-templar")
    assert not (installed / "high-templar").exists()
    assert not list(tmp_path.glob("venv/lib/*/site-packages/high_templar*"))


def test_wheel_is_for_old_systems_too(one):
    """Its binary needs no more than the C library that its name promises."""
    wheel = wheel_of(one)
    promised = re.search(r"manylinux_2_(\d+)_x86_64", wheel.name)[1]
    shown = run(TOOLS / "auditwheel", "show", wheel, env={**ENVIRONMENT, "COLUMNS": "500"})
    tag = re.search(r'platform tag:\s+"manylinux_2_(\d+)_x86_64"', shown)
    assert tag, shown
    assert int(tag[1]) <= int(promised), shown


def test_wheel_is_small_and_complete(one):
    """A wheel for every Python 3, with its licences, its bill of materials and no debug information."""
    wheel = wheel_of(one)
    assert wheel.stat().st_size < WHEEL_BYTES_MAX
    with ZipFile(wheel) as file:
        assert file.testzip() is None
        names = file.namelist()
        metadata = file.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    for text in ("/licenses/LICENSE", "/licenses/THIRD-PARTY.txt", "/entry_points.txt", "high_templar/py.typed"):
        assert any(name.endswith(text) for name in names), text
    assert "License-File: THIRD-PARTY.txt\n" in metadata
    assert not any(name.endswith((".debug", ".pyc")) for name in names)
    run(TOOLS / "check-wheel-contents", "--ignore", "W009", wheel)


def test_descriptions_are_accepted_by_the_index(one):
    run(TOOLS / "twine", "check", "--strict", wheel_of(one), one("high_templar-*.tar.gz"))


def test_source_builds_with_rust_alone(one, tmp_path):
    """pip builds it in an environment of its own, from a folder that has nothing else."""
    python = next(filter(None, map(interpreter, reversed(PYTHONS))))
    run(python, "-m", "venv", tmp_path / "venv")
    profile = os.environ.get("HT_SDIST_PROFILE", "dev")
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    environment = {**ENVIRONMENT, "MATURIN_PEP517_ARGS": f"--profile {profile}", "CARGO_TARGET_DIR": target}
    pip = tmp_path / "venv/bin/pip"
    run(pip, "install", "--quiet", "--no-binary", "high-templar", one("high_templar-*.tar.gz"), env=environment)
    assert run(tmp_path / "venv/bin/high-templar", "--version").startswith("high-templar ")
    run(tmp_path / "venv/bin/python", ROOT / "clients/python/tests/alone.py", cwd="/")
