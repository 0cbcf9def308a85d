"""docs/tutorial-any-backend.md: what can be typed with Node and curl alone."""

import json

from reader import eventually

ORDER_CAKE = """
for request in 'login {"customer": "7"}' 'orders {"item": "Cake"}'; do
    curl -sS -c early -b early -o early.answer -H 'Content-Type: application/json' \\
        -d "${request#* }" "http://127.0.0.1:3000/${request%% *}"
done
"""


def test_express_and_curl(read, open_page):
    reader, chapters = read("tutorial-any-backend.md", [3000, 5000, 8002])
    site = f"http://127.0.0.1:{reader.ports[3000]}/"
    said = ""
    for block in [*chapters["The gateway"], *chapters["Express"]]:
        if block.word == "forever" and "high-templar" in block.text:
            # The page does not wait for the gateway. This order cannot be published, and is kept.
            reader.run(ORDER_CAKE)
            with open_page(site) as page:
                page.sees("Connection: connecting")
                page.sees("1: Cake")
        said += reader.carry_out(block)
        if block.word == "forever":
            reader.wait_for(5000 if "high-templar" in block.text else 3000)
    assert "ok   configuration" in said, said
    assert "refuses" in said and "(403)" in said, said
    assert said.endswith("Everything works.\n"), said

    with open_page(site) as one, open_page(site) as other:
        for page in (one, other):
            page.sees("Connection: live")
            page.sees("1: Cake")
        one.clicks("Order tea")
        for page in (one, other):
            page.sees("2: Tea")

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
