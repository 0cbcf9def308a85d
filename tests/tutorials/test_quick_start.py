"""docs/clients.md, "Quick start with Vite and React", in a new project of Vite's."""

from document import blocks
from reader import ROOT
from reader import eventually
from site_of_orders import metric
from site_of_orders import order

DOCUMENT = ROOT / "docs/clients.md"
DEV = "npm run dev"
VITE = 5173


def test_vite_and_react(read, open_page):
    reader, chapters = read("tutorial-any-backend.md", [3000, 5000, 8002, VITE])
    express = [*chapters["The gateway"], *chapters["Express"]]
    start = next(at for at, block in enumerate(express) if "high-templar serve" in block.text)
    for block in express[:start]:
        reader.carry_out(block)
    reader.wait_for(3000)
    of_express = reader.site

    heading = "Quick start with Vite and React"
    quick_start = [block for block in blocks(DOCUMENT) if block.heading == heading]
    install, publish = [block for block in quick_start if block.language == "console"]
    reader.run(install.commands)
    for block in quick_start:
        reader.carry_out(block)
    assert f"`{DEV}`" in DOCUMENT.read_text()
    reader.start(f"{DEV} -- --host 127.0.0.1 --port {VITE} --strictPort")
    reader.wait_for(VITE)
    main = reader.site / "src/main.jsx"

    # The page does not wait for the gateway. Without it orders cannot be published, and are kept.
    order(reader, "Cake")
    with open_page(reader.text(f"http://localhost:{VITE}/")) as page:
        page.sees("1: Cake")
        page.sees("Connection: reconnecting")
        order(reader, "Coffee")
        reader.run(f"cd {of_express}")
        reader.carry_out(express[start])
        reader.wait_for(5000)
        page.sees("Connection: live")
        page.sees("2: Coffee")

        assert '{"position":1,"cursor":"' in reader.run(publish.commands)
        page.sees("99: Tea")
        assert metric(reader, "connections") == 1

        # Saved in the editor: the page is the new one, with one connection.
        text = main.read_text()
        assert "<p>Connection:" in text
        main.write_text(text.replace("<p>Connection:", "<p>State:"))
        page.sees("State: live")
        eventually(lambda: metric(reader, "connections") == 1, "one connection")
