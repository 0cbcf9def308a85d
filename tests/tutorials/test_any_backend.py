"""docs/tutorial-any-backend.md: what can be typed with Node and curl alone."""

import json

from reader import eventually


def test_express_and_curl(read, open_page):
    reader, chapters = read("tutorial-any-backend.md", [3000, 5000, 8002])
    for block in [*chapters["The gateway"], *chapters["Express"]]:
        said = reader.carry_out(block)
        if block.word == "forever":
            reader.wait_for(5000 if "high-templar" in block.text else 3000)
    assert "ok   configuration" in said, said
    assert "403" in said, said

    site = f"http://127.0.0.1:{reader.ports[3000]}/"
    with open_page(site) as one, open_page(site) as other:
        for page in (one, other):
            page.sees("Connection: open")
        one.clicks("Order tea")
        for page in (one, other):
            page.sees("1: Tea")

        printed = ""
        for block in chapters["Curl"]:
            printed += reader.carry_out(block)
            if block.word == "forever":
                eventually(lambda: "listening to" in reader.story(), "the listener")
        assert '{"allowed_rooms":[{"target":"order","customer":"7"}]}' in printed
        assert '{"position":' in printed
        # What the listener prints is what was published, a line of JSON each.
        published = json.dumps({"id": 1, "status": "paid"})
        eventually(lambda: published in reader.story().splitlines(), "what was published")
