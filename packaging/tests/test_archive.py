"""The archive of the binary, and that of its debug information."""

import re
import tarfile

from machine import run
from machine import serves


def unpacked(archive, folder):
    """The one folder that an archive consists of."""
    with tarfile.open(archive) as file:
        tops = {name.partition("/")[0] for name in file.getnames()}
        owners = {(entry.uname, entry.gname, entry.uid, entry.gid) for entry in file}
    run("tar", "-xf", archive, "-C", folder)
    assert owners == {("", "", 0, 0)}
    assert tops == {archive.name.removesuffix(".gz").removesuffix(".xz").removesuffix(".tar")}
    return folder / tops.pop()


def build_id(binary):
    """What a debugger finds the debug information of a binary by."""
    return re.search(r"Build ID: (\w{40})", run("readelf", "--notes", binary))[1]


def test_archive(one, version, tmp_path):
    folder = unpacked(one("high-templar-*-linux-gnu.tar.gz"), tmp_path)
    binary = folder / "high-templar"
    assert run(binary, "--version") == f"high-templar {version}\n"
    assert run(binary, "config", "--toml") == (folder / "high-templar.toml").read_text()
    assert "aws-lc-rs" in (folder / "THIRD-PARTY.txt").read_text()
    units = {path.name for path in (folder / "systemd").iterdir()}
    assert units == {"high-templar.service", "high-templar.socket", "high-templar-internal.socket"}
    assert (folder / "man/high-templar.1").read_text().startswith(".")
    run("bash", "-n", folder / "completions/high-templar.bash")
    assert (folder / "completions/high-templar.zsh").read_text().startswith("#compdef high-templar")
    assert "complete -c high-templar" in (folder / "completions/high-templar.fish").read_text()
    serves(binary, tmp_path)


def test_debug_information(one, tmp_path):
    folder = unpacked(one("high-templar-*-linux-gnu.tar.gz"), tmp_path)
    debug = unpacked(one("high-templar-*-debug.tar.xz"), tmp_path) / "high-templar.debug"
    binary = folder / "high-templar"
    assert build_id(binary) == build_id(debug)
    assert ".debug_info" not in run("readelf", "--sections", "--wide", binary)
    # The binary knows the name, so a debugger needs only the folder.
    debug.rename(folder / debug.name)
    main = run("addr2line", "--functions", "--demangle", "--exe", debug, symbol(debug, "main"))
    assert "main" in main.splitlines()[0]
    assert "??" not in main.splitlines()[0]


def symbol(debug, name):
    """The address of a symbol."""
    return re.search(rf"^(\w+) [Tt] {name}$", run("nm", debug), re.M)[1]


def test_nothing_of_the_machine_is_in_the_binary(one, tmp_path):
    """Neither folders of whoever builds it nor the host of a registry."""
    binary = unpacked(one("high-templar-*-linux-gnu.tar.gz"), tmp_path) / "high-templar"
    debug = unpacked(one("high-templar-*-debug.tar.xz"), tmp_path) / "high-templar.debug"
    for file in (binary, debug):
        content = file.read_bytes()
        for found in (b"/registry/src/", b"/.cargo/", b"/root/", b"/home/", b"/work/"):
            around = content.find(found)
            assert around < 0, (file.name, content[max(around - 80, 0) : around + 120])
