"""The pages of the site, in the order of the table of contents."""

import posixpath
import re

CONTENTS = "docs/README.md"
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
IMAGE = re.compile(r'<(img) [^>]*src="([^"]+)"')

# A path from the root of the repository, and the name of a test before one: `NAME` in PATH.
PATH = re.compile(r"(?<![\w/.:-])(?:crates|src|tests|clients|docs|bench|tools|fuzz|packaging|examples)/[\w./-]*\w")
TEST = re.compile(r"`(\w+)…?` in ((?:crates|clients|src|tests)/[\w./-]*\w)")


class Mistake(Exception):
    """What is wrong with the documentation, in a sentence."""


def targets(page, text):
    """The title and the path, from the root of the repository, of each internal link of a page."""
    for title, target in [*LINK.findall(text), *IMAGE.findall(text)]:
        path = target.split("#")[0]
        if path and "://" not in target and not target.startswith("mailto:"):
            yield title, posixpath.normpath(posixpath.join(posixpath.dirname(page), path))


def linked_files(page, text):
    """The files other than pages that a page links to or shows."""
    return [path for _, path in targets(page, text) if not path.endswith(".md")]


def stale_names(text, root):
    """The files and tests that a page about the code names and that do not exist below the root.

    docs/design/001 stands for the page whose name begins so.
    """
    text = re.sub(r"\]\([^)]*\)", "]", text)
    for path in sorted(set(PATH.findall(text))):
        is_note = path.startswith("docs/design/") and any(root.glob(f"{path}-*"))
        if not is_note and not (root / path).exists():
            yield path
    for name, path in TEST.findall(text):
        sources = [root / path] if (root / path).is_file() else (root / path).rglob("*.rs")
        if not any(f"fn {name}" in source.read_text() for source in sources if source.is_file()):
            yield f"{name} in {path}"


def summary(contents, pages, notes):
    """mdBook's table of contents, from docs/README.md.

    Links before its first `##` stand alone; each `##` begins a part. `notes` are design notes with
    their headings, which need no entry. Every other page needs one.
    """
    introduction, *parts = contents.split("\n## ")
    seen = {CONTENTS, *(path for path, _ in notes)}

    def entries(text, mark):
        for title, path in targets(CONTENTS, text):
            if path in seen or not path.endswith(".md"):
                continue
            if path not in pages:
                raise Mistake(f"{CONTENTS} lists {path}, which does not exist")
            seen.add(path)
            yield f"{mark}[{title}]({path})\n"

    heading = introduction.splitlines()[0].removeprefix("# ")
    lines = ["# Summary\n\n", *entries(introduction, ""), f"[{heading}]({CONTENTS})\n"]
    for part in parts:
        title, _, text = part.partition("\n")
        lines += [f"\n# {title}\n\n", *entries(text, "- ")]
    if notes:
        lines += ["\n# Design notes\n\n", *(f"- [{title}]({path})\n" for path, title in notes)]
    missing = sorted(set(pages) - seen)
    if missing:
        raise Mistake(f"{CONTENTS} does not list {', '.join(missing)}: add a line for each")
    return "".join(lines)
