"""Finds links of a built site that lead nowhere."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page and the targets of its links and images."""

    def __init__(self, text):
        super().__init__()
        self.anchors = set()
        self.targets = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.targets.add(value)


def broken(site):
    """One sentence for each internal link of the site whose page, file or anchor does not exist."""
    site = Path(site).resolve()
    # Pages are served for missing ones under any path: their links are absolute.
    files = [file for file in sorted(site.rglob("*.html")) if file.name != "404.html"]
    pages = {file: Page(file.read_text()) for file in files}
    found = []
    for file, page in pages.items():
        for target in sorted(page.targets):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchor = unquote(parts.fragment)
            if not there.is_file() or not there.is_relative_to(site):
                found.append(f"{file.relative_to(site)}: {target} does not exist")
            elif anchor and there in pages and anchor not in pages[there].anchors:
                found.append(f"{file.relative_to(site)}: {target} has no such heading")
    return found
