"""What the tests of the tutorials share."""

import os
import subprocess
from contextlib import contextmanager

import pytest
from document import blocks
from reader import ROOT
from reader import Reader

WHEEL = os.environ["HT_WHEEL"]
BINARY = os.environ["HT_BINARY"]


@pytest.fixture
def read(tmp_path):
    """Gives a reader with a document's blocks, by the headings that they stand under."""
    readers = []

    def read(name, ports):
        replaced = {
            # What takes minutes and is built already.
            'pip install "$HIGH_TEMPLAR/clients/python[django]"': f'pip install -q "{WHEEL}[django]"',
            "npm ci && npm run build": "true",
            "cargo build --release --bin high-templar": "true",
            "$HIGH_TEMPLAR/target/release": os.path.dirname(BINARY),
            "$HOME/high-templar": ROOT,
        }
        reader = Reader(tmp_path, ports, replaced)
        readers.append(reader)
        chapters = {}
        for block in blocks(ROOT / "docs" / name):
            chapters.setdefault(block.heading, []).append(block)
        return reader, chapters

    try:
        yield read
    finally:
        for reader in readers:
            reader.leave()
            print(reader.story())


class Page:
    """A page in headless Chromium; see page.js."""

    def __init__(self, process):
        self._process = process

    def sees(self, text):
        """Waits until the page shows this."""
        self._ask(f"sees {text}")

    def loses(self, text):
        """Waits until the page does not show this any more."""
        self._ask(f"lost {text}")

    def clicks(self, text):
        """Clicks the button with this text."""
        self._ask(f"click {text}")

    def _ask(self, line):
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline().rstrip("\n")
        assert answer == line, answer or "the browser ended"


@pytest.fixture
def open_page():
    """Opens a page, as a user if one is given."""

    @contextmanager
    def open_page(*arguments):
        process = subprocess.Popen(
            ["node", ROOT / "tests" / "tutorials" / "page.js", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Page(process)
        finally:
            process.stdin.close()
            process.wait(30)

    return open_page
