"""docs/tutorial-any-backend.md: what can be typed with Node and curl alone."""

import json

from reader import eventually
from site_of_orders import order


def test_express_and_curl(read, open_page):
    reader, chapters = read("tutorial-any-backend.md", [3000, 5000, 8002])
    site = f"http://127.0.0.1:{reader.ports[3000]}/"
    blocks = [*chapters["The gateway"], *chapters["Express"]]
    start = next(at for at, block in enumerate(blocks) if "high-templar serve" in block.text)
    for block in blocks[:start]:
        reader.carry_out(block)
    reader.wait_for(3000)
    # The page does not wait for the gateway. Without it orders cannot be published, and are kept.
    order(reader, "Cake")
    said = ""
    with open_page(site) as page:
        page.sees("1: Cake")
        page.sees("Connection: reconnecting")
        order(reader, "Coffee")
        for block in blocks[start:]:
            said += reader.carry_out(block)
            if block.word == "forever":
                reader.wait_for(5000)
        page.sees("Connection: live")
        page.sees("2: Coffee")
    assert "ok   configuration" in said, said
    assert "refuses" in said and "(403)" in said, said
    assert said.endswith("Everything works.\n"), said

    with open_page(site) as one, open_page(site) as other:
        for page in (one, other):
            page.sees("Connection: live")
            page.sees("2: Coffee")
        one.clicks("Order tea")
        for page in (one, other):
            page.sees("3: Tea")

        printed = ""
        for block in chapters["Curl"]:
            printed += reader.carry_out(block)
            if block.word == "forever":
                eventually(lambda: "listening to" in reader.story(), "the listener")
        assert '{"allowed_rooms":[{"target":"order","customer":"7"}]}' in printed
        assert '{"position":' in printed
        # What the listener prints is what was published, a line of JSON each.
        published = json.dumps({"id": 9, "item": "Coffee"})
        eventually(lambda: published in reader.story().splitlines(), "what was published")
        for page in (one, other):
            page.sees("9: Coffee")
