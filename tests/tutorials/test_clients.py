"""The programs in docs/clients.md, with the Express site of the other tutorial."""

import re
import subprocess
import sys

from document import blocks
from reader import ROOT
from reader import eventually

ESBUILD = ROOT / "clients" / "js" / "node_modules" / ".bin" / "esbuild"
SCRIPT = '<meta charset="utf-8"><body><div id="root"></div><script type="module" src="{}"></script>'


def test_programs_of_the_clients(read, open_page):
    reader, chapters = read("tutorial-any-backend.md", [3000, 5000, 8002])
    programs = {block.file[0]: block for block in blocks(ROOT / "docs/clients.md") if block.file}
    for block in [*chapters["The gateway"], *chapters["Express"]]:
        reader.carry_out(block)
        if block.word == "forever":
            reader.wait_for(5000 if "high-templar" in block.text else 3000)

    site = f"http://127.0.0.1:{reader.ports[3000]}/"
    public = reader.site / "public"
    for name in ("plain", "app"):
        (public / f"{name}.html").write_text(SCRIPT.format(f"/{name}.js"))
    (public / "plain.js").write_text(reader.text(programs["plain.js"].text))
    # There is no proxy of Vite between the page and the gateway.
    react = programs["src/main.jsx"].text
    assert 'url: "/ws/"' in react
    react = react.replace('url: "/ws/"', "url: `ws://${location.hostname}:5000/ws/`")
    (reader.site / "app.jsx").write_text(reader.text(react))
    subprocess.run(
        [ESBUILD, "app.jsx", "--bundle", "--jsx=automatic", "--format=esm", "--outfile=public/app.js"],
        cwd=reader.site,
        env={"NODE_PATH": str(ROOT / "clients" / "js" / "node_modules"), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )

    cookie = reader.run(
        "curl -sS --cookie-jar cookies -H 'Content-Type: application/json' "
        "-d '{\"customer\": \"7\"}' http://127.0.0.1:3000/login\n"
        "awk '/connect.sid/ { print $7 }' cookies"
    ).strip()
    program = reader.text(programs["listen.py"].text).replace("connect.sid=...", f"connect.sid={cookie}")
    (reader.site / "listen.py").write_text(program)

    with (
        open_page(site) as one,
        open_page(f"{site}app.html", f"connect.sid={cookie}") as react,
        open_page(f"{site}plain.html", f"connect.sid={cookie}") as plain,
    ):
        one.sees("Connection: live")
        react.sees("Connection: live")
        reader.start(f"{sys.executable} listen.py")

        # Whoever listens already is counted by the gateway.
        def listeners():
            metrics = reader.run("curl -sS http://127.0.0.1:8002/metrics")
            return re.search(r"^high_templar_subscriptions(?:\{.*\})? 4$", metrics, re.M)

        eventually(listeners, "the fourth subscription")
        one.clicks("Order tea")
        react.sees("1: Tea")
        plain.sees('"item":"Tea"')
        eventually(lambda: "'item': 'Tea'" in reader.story(), "what listen.py prints")
