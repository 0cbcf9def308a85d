"""The folder of a release as a whole."""

import json
import subprocess
import tarfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec
from importlib.util import spec_from_loader

import pytest
from cyclonedx.schema import OutputFormat
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation import make_schemabased_validator
from machine import ROOT
from machine import run



def script(name):
    """A script of packaging as a module."""
    loader = SourceFileLoader(name, str(ROOT / "packaging" / name))
    module = module_from_spec(spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


notes = script("notes")


def test_checksums_are_of_every_file(dist):
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=dist)
    listed = {line.split()[1] for line in (dist / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in dist.iterdir()} - {"SHA256SUMS"}


def test_every_artefact_has_the_version(dist, version):
    others = {"SHA256SUMS", "NOTES.md"}
    named = [path.name for path in dist.iterdir() if path.name not in others]
    assert len(named) == 8, named
    assert not [name for name in named if version not in name]


def test_source_is_what_is_committed(one, version):
    with tarfile.open(one(f"high-templar-{version}.tar.gz")) as file:
        names = {entry.name for entry in file if not entry.isdir()}
    tracked = run("git", "ls-tree", "-r", "-z", "--name-only", "HEAD", cwd=ROOT).split("\0")
    assert names == {f"high-templar-{version}/{name}" for name in tracked if name}


def test_bill_of_materials(one, version):
    """It is valid, and names what is compiled in, with the lock file's checksums, and no tool of ours."""
    text = one("*.cdx.json").read_text()
    bill = json.loads(text)
    schema = SchemaVersion.from_version(bill["specVersion"])
    error = make_schemabased_validator(OutputFormat.JSON, schema).validate_str(text)
    assert error is None, error
    assert bill["metadata"]["component"]["version"] == version
    purls = {component.get("purl") for component in bill["components"]}
    for part in ("pkg:cargo/high-templar", "pkg:npm/%40high-templar/client", "pkg:pypi/high-templar"):
        assert f"{part}@{version}" in purls, part
    locked = (ROOT / "Cargo.lock").read_text()
    crates = [it for it in bill["components"] if (it.get("purl") or "").startswith("pkg:cargo/")]
    names = {it["name"] for it in crates}
    assert {"tokio", "rustls", "aws-lc-sys", "tikv-jemalloc-sys"} <= names
    assert not {"proptest", "criterion", "ht-sim", "ht-testkit"} & names
    for crate in crates:
        assert f'name = "{crate["name"]}"\nversion = "{crate["version"]}"' in locked
        hashes = [it["content"] for it in crate.get("hashes", [])]
        assert all(f'checksum = "{it}"' in locked for it in hashes), crate["name"]
        assert hashes or crate["name"].startswith(("ht-", "high-templar")), crate["name"]
    known = {it["bom-ref"] for it in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    for edge in bill["dependencies"]:
        assert {edge["ref"], *edge.get("dependsOn", [])} <= known


CHANGES = "# Changelog\n\n## Unreleased\n\n{}\n## 2.0.0 (2030-01-02)\n\n- New.\n\n## 1.0.0\n\n- Old.\n"


def test_notes_are_the_part_of_the_version():
    changes = notes.parts(CHANGES.format(""))
    assert notes.notes(changes, "2.0.0", is_draft=False) == "# high-templar 2.0.0\n\n- New."
    assert notes.notes(changes, "2.0.0", is_draft=True) == "# high-templar 2.0.0\n\n- New."


def test_notes_of_a_release_leave_nothing_unreleased():
    changes = notes.parts(CHANGES.format("- Later.\n"))
    with pytest.raises(ValueError, match="unreleased changes"):
        notes.notes(changes, "2.0.0", is_draft=False)
    assert notes.notes(changes, "2.0.0", is_draft=True).endswith("not released\n\n- Later.")
    with pytest.raises(ValueError, match=r"nothing of 3\.0\.0"):
        notes.notes(notes.parts(CHANGES.format("")), "3.0.0", is_draft=False)


def test_a_release_needs_a_clean_checkout(tmp_path):
    """It refuses before anything is built, and says so."""
    run("git", "clone", "--quiet", "--shared", ROOT, tmp_path / "checkout")
    (tmp_path / "checkout/new").write_text("not committed\n")
    command = [tmp_path / "checkout/packaging/release", tmp_path / "dist"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "this checkout has changes" in ended.stderr
    assert not (tmp_path / "dist").exists()
