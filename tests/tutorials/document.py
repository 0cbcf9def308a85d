"""The code blocks of a tutorial, as its reader would type them.

A block whose first line is a comment with the name of a file is that file; "NAME, at the end" adds
to it. A block of ``sh`` is commands, one of ``sh forever`` commands that go on until the reader
stops them. ``sh again`` are for the reader alone, as is every other language without a file's name.
"""

import re
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^```(\S*)([^\n]*)\n(.*?)^```$", re.M | re.S)
_NAME = re.compile(r"(?:#|//|<!--|--)\s*([\w./-]+\.\w+)(, at the end)?(?:\s*-->)?")


class Block(NamedTuple):
    """One block, with the heading that it stands under."""

    heading: str
    language: str
    word: str
    text: str

    @property
    def file(self):
        """The name of the file that this is, and whether it is added at the end."""
        first = self.text.partition("\n")[0]
        found = _NAME.fullmatch(first)
        return (found[1], bool(found[2])) if found and self.language != "sh" else None

    @property
    def commands(self):
        """What is typed in a terminal of which this is the picture: prompts, commands, output."""
        typed, goes_on = [], False
        for line in self.text.splitlines():
            if goes_on or line.startswith("$ "):
                typed.append(line.removeprefix("$ "))
                goes_on = line.endswith("\\")
        return "\n".join(typed)


def blocks(document: Path):
    """Every block of a document, in its order."""
    text = document.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        headings = re.findall(r"^## (.*)$", text[: match.start()], re.M)
        heading = headings[-1] if headings else ""
        found.append(Block(heading, match[1], match[2].strip(), match[3]))
    return found
