"""The artefacts under test."""

import os
import re
import sys
from pathlib import Path

import pytest
from machine import ROOT

sys.path.insert(0, str(ROOT / "tests/tutorials"))


@pytest.fixture(scope="session")
def dist():
    """The folder of the release."""
    return Path(os.environ["HT_DIST"])


@pytest.fixture(scope="session")
def version():
    """The version that is released."""
    return re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]


@pytest.fixture(scope="session")
def one(dist):
    """The only artefact with a name like this."""

    def find(pattern):
        found = list(dist.glob(pattern))
        assert len(found) == 1, f"{pattern}: {found} of {os.listdir(dist)}"
        return found[0]

    return find
