"""What is compiled into the binary."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Crate(NamedTuple):
    """A package of Rust."""

    name: str
    version: str
    licence: str
    description: str
    folder: Path
    is_ours: bool
    dependencies: list[tuple[str, str]]
    """Name and version of each crate that it uses, of those that are compiled in."""


def output(*command: str) -> str:
    """What a command prints; it must succeed."""
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def compiled_in(target: str) -> list[Crate]:
    """Every crate of the binary for a target, ours too, in order of name: without macros and build scripts."""
    tree = ("cargo", "tree", "--locked", "--package", "high-templar", "--target", target)
    lines = output(*tree, "--edges", "normal,no-proc-macro", "--prefix", "none").splitlines()
    used = {(name, version.removeprefix("v")) for name, version, *_ in map(str.split, filter(None, lines))}
    options = ("--locked", "--format-version", "1", "--filter-platform", target)
    metadata = json.loads(output("cargo", "metadata", *options))
    packages = {it["id"]: it for it in metadata["packages"] if (it["name"], it["version"]) in used}
    resolved = {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}

    def normal(dependency: dict) -> bool:
        is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
        return is_normal and dependency["pkg"] in packages

    def crate(package: dict) -> Crate:
        uses = (packages[it["pkg"]] for it in resolved[package["id"]] if normal(it))
        return Crate(
            package["name"],
            package["version"],
            package["license"] or "",
            package["description"] or "",
            Path(package["manifest_path"]).parent,
            package["source"] is None,
            sorted((it["name"], it["version"]) for it in uses),
        )

    return sorted(map(crate, packages.values()))
