"""The checks of the documentation fail on what is wrong, and on nothing else."""

import tempfile
import unittest
from pathlib import Path

from links import broken
from pages import Mistake, linked_files, stale_names, summary


class Links(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.site = Path(folder.name)

    def write(self, name, text):
        file = self.site / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def test_working_links_are_accepted(self):
        self.write("a.html", '<h2 id="top">A</h2><a href="#top"></a><a href="b/c.html#here"></a>')
        self.write("b/c.html", '<p id="here"></p><a href="../a.html"></a><img src="../x.png">')
        self.write("x.png", "")
        self.write("404.html", '<a href="/css/none.css"></a>')
        self.assertEqual(broken(self.site), [])

    def test_other_sites_are_not_checked(self):
        self.write("a.html", '<a href="https://other.example/none.html#x"></a><a href="mailto:a@b.example"></a>')
        self.assertEqual(broken(self.site), [])

    def test_broken_links_are_reported(self):
        self.write("b.html", '<h2 id="here"></h2>')
        for target, reason in [
            ("none.html", "none.html does not exist"),
            ("none.html#here", "none.html#here does not exist"),
            ("b.html#there", "b.html#there has no such heading"),
            ("#there", "#there has no such heading"),
            ("../outside.html", "../outside.html does not exist"),
        ]:
            with self.subTest(target):
                self.write("a.html", f'<a href="{target}"></a>')
                self.assertEqual(broken(self.site), [f"a.html: {reason}"])

    def test_missing_images_are_reported(self):
        self.write("a.html", '<img src="none.png">')
        self.assertEqual(broken(self.site), ["a.html: none.png does not exist"])


class Contents(unittest.TestCase):
    CONTENTS = "# Docs\n\n[Start](../README.md)\n\n## Operators\n\n- [Run](run.md#first): how\n- [Run again](run.md)\n"

    def test_the_summary_follows_the_table_of_contents(self):
        self.assertEqual(
            summary(self.CONTENTS, ["README.md", "docs/run.md"], []),
            "# Summary\n\n[Start](README.md)\n[Docs](docs/README.md)\n\n# Operators\n\n- [Run](docs/run.md)\n",
        )

    def test_a_page_without_an_entry_is_refused(self):
        with self.assertRaisesRegex(Mistake, r"docs/README.md does not list docs/new.md"):
            summary(self.CONTENTS, ["README.md", "docs/run.md", "docs/new.md"], [])

    def test_an_entry_without_a_page_is_refused(self):
        with self.assertRaisesRegex(Mistake, r"docs/README.md lists docs/run.md, which does not exist"):
            summary(self.CONTENTS, ["README.md"], [])

    def test_design_notes_are_added_by_their_headings(self):
        notes = [("docs/design/001-x.md", "X is chosen")]
        pages = ["README.md", "docs/run.md", "docs/design/001-x.md"]
        self.assertTrue(
            summary(self.CONTENTS, pages, notes).endswith("\n# Design notes\n\n- [X is chosen](docs/design/001-x.md)\n")
        )

    def test_linked_files_are_found_below_the_page(self):
        text = "[a](../run) ![b](images/b.png) [c](c.md#x) [d](https://d.example/e.py) [f](#f) <img src=\"g.png\">"
        self.assertEqual(linked_files("docs/page.md", text), ["run", "docs/images/b.png", "docs/g.png"])


class Names(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "tests/it").mkdir(parents=True)
        (self.root / "tests/it/gaps.rs").write_text("fn a_gap_is_reported() {}\n")

    def test_existing_files_and_tests_are_accepted(self):
        (self.root / "docs/design").mkdir(parents=True)
        (self.root / "docs/design/001-a-choice.md").write_text("# A choice\n")
        text = "tests/it/gaps.rs, docs/design/001, `a_gap_is_reported` in tests/it/gaps.rs, `a_gap…` in tests/it"
        self.assertEqual(list(stale_names(text, self.root)), [])

    def test_other_words_and_paths_are_no_names(self):
        text = "`advice` in the log, /usr/src/none, ../tests/none, https://a.example/docs/none"
        self.assertEqual(list(stale_names(text, self.root)), [])

    def test_links_are_left_to_the_check_of_links(self):
        self.assertEqual(list(stale_names("[here](tests/none.rs)", self.root)), [])

    def test_missing_files_and_tests_are_reported(self):
        text = "`tests/it/ga`, docs/design/002, and `a_gap_is_closed` in tests/it/gaps.rs"
        stale = ["docs/design/002", "tests/it/ga", "a_gap_is_closed in tests/it/gaps.rs"]
        self.assertEqual(list(stale_names(text, self.root)), stale)


if __name__ == "__main__":
    unittest.main()
