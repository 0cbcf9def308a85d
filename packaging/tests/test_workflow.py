"""The workflow that builds for other machines, and the scripts that it runs: they are checked, not run."""

import os
import re
from pathlib import Path

from machine import ROOT
from machine import run

TOOLS = Path(os.environ["HT_PACKAGING_WORK"]) / "venv/bin"
WORKFLOW = ROOT / ".github/workflows/release.yml"


def test_workflow_is_one():
    """By the schema, and by what actionlint knows of expressions and contexts."""
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW)
    folder = ROOT / "packaging/tests/workflow"
    run("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=folder)
    run("node", "lint.js", WORKFLOW, cwd=folder)


def test_scripts_are_clean():
    folders = (ROOT / "packaging", ROOT / "packaging/tests")
    files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    scripts = [path for path in files if path.open("rb").read(64).startswith((b"#!/usr/bin/env bash", b"# Sourced"))]
    assert len(scripts) >= 7, scripts
    run(TOOLS / "shellcheck", "--external-sources", *scripts, cwd=ROOT)


def test_workflow_names_what_exists():
    text = WORKFLOW.read_text()
    paths = set(re.findall(r"(?:packaging|clients)/[\w./-]+\w", text))
    assert {"packaging/release", "packaging/portable", "clients/python/tests/alone.py"} <= paths
    assert not [path for path in paths if not (ROOT / path).exists()]
    assert "packaging/portable dist" in text
