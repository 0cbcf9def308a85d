"""Types the commands of docs/scale.md, and compares what it says they print.

python3 -B -m unittest discover --start-directory bench/tests

BENCH_MEASURE=1 also has it measure, with debug builds: the step `scale` of ./test does.
"""

import json
import os
import re
import shlex
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/scale.md"
MEASURED = "target/bench/scale.json"


def run(*words: str) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{shlex.join(words)}: {done.returncode}: {done.stderr}")
    return done.stdout


def blocks() -> list[tuple[str, str]]:
    """The blocks of the page in their order: language and content."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


class Page(unittest.TestCase):
    def test_commands_print_what_the_page_says(self):
        found = blocks()
        printed = [at for at, (language, _) in enumerate(found) if language == "text"]
        self.assertEqual(len(printed), 2)
        for at in printed:
            (language, command), (_, shown) = found[at - 1 : at + 1]
            self.assertEqual(language, "sh")
            self.assertEqual(run(*shlex.split(command)), shown, command)

    def test_rows_of_the_table_are_what_the_program_finds(self):
        rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| (.*) \|$", PAGE.read_text(), re.M)
        engines = json.loads((ROOT / "bench/scale.json").read_text())["engines"]
        self.assertEqual({engine for engine, _, _ in rows}, set(engines))
        for engine, triggers, cells in rows:
            words = ["--engine", engine, "--triggers", triggers.replace(",", ""), "--json"]
            found = json.loads(run("bench/scale", *words))
            names = ("engine", "network", "ingest", "delivery")
            loads = [f"{found['stages'][name]['load']:.0%}" for name in names]
            late = "grows" if found["is_behind"] else f"{found['p99_ms']:.1f}"
            self.assertEqual(cells.split(" | "), [*loads, late], (engine, triggers))

    def test_every_option_that_the_page_names_exists(self):
        known = run("bench/scale", "--help")
        for option in set(re.findall(r"--[a-z][a-z-]+", PAGE.read_text())):
            self.assertIn(option, known)

    @unittest.skipUnless(os.environ.get("BENCH_MEASURE"), "BENCH_MEASURE is not set")
    def test_constants_are_measured_and_used(self):
        (commands,) = [text for _, text in blocks() if "--measure" in text]
        measure, use = commands.splitlines()
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/scale.json"
            typed = [line.replace(MEASURED, file) for line in (measure, use)]
            self.assertTrue(all(file in line for line in typed), typed)
            # Debug builds, which the other steps have made already.
            run(*shlex.split(typed[0]), "--profile", "debug", "--seconds", "1")
            shown = run(*shlex.split(typed[1]))
            found, before = (json.loads(Path(name).read_text()) for name in (file, ROOT / "bench/scale.json"))
        self.assertIn("200,000 connections, 3 nodes", shown)
        self.assertEqual(found.keys(), before.keys())
        self.assertEqual(found["engines"], before["engines"])
        for name in ("connection_bytes", "connect_us", "ping_us"):
            self.assertGreater(found[name]["value"], 0, name)
        for name in ("delivery_us", "ingest_us"):
            self.assertGreater(found[name]["single"], 0, name)
            self.assertGreater(found[name]["batch"], 0, name)
            self.assertIn("measured", found[name]["source"])


class Simulation(unittest.TestCase):
    def find(self, *words: str) -> dict:
        return json.loads(run("bench/scale", "--json", *words))

    def test_more_nodes_take_deliveries_and_cost_the_engine(self):
        few, many = self.find("--nodes", "20"), self.find("--nodes", "80")
        load = lambda found, stage: found["stages"][stage]["load"]  # noqa: E731
        self.assertAlmostEqual(load(few, "delivery"), 4 * load(many, "delivery"))
        self.assertGreater(load(many, "engine"), 2 * load(few, "engine"))
        self.assertAlmostEqual(load(few, "ingest"), load(many, "ingest"))

    def test_what_is_too_much_grows_with_time(self):
        late = [
            self.find("--triggers", "20000", "--seconds", str(seconds))["stages"]["engine"]
            for seconds in (1, 4)
        ]
        self.assertGreater(late[0]["load"], 1)
        self.assertGreater(late[1]["p99_ms"], 2 * late[0]["p99_ms"])

    def test_a_part_at_rest_adds_what_one_item_takes(self):
        found = self.find("--triggers", "1", "--connections", "40", "--seconds", "100")
        engine = json.loads((ROOT / "bench/scale.json").read_text())["engines"]["rabbitmq"]
        alone = engine["append_us"]["single"] + 40 * engine["delivery_us"]["single"] / 8
        self.assertAlmostEqual(found["stages"]["engine"]["p50_ms"], alone / 1e3)

    def test_mistakes_are_named(self):
        for words, problem in (
            (["--nodes", "0"], "0 is not above 0"),
            (["--engine", "kafka"], "the engine is one of rabbitmq, postgresql, nats, redis"),
            (["--constants", "/nowhere.json"], "No such file"),
        ):
            done = subprocess.run([ROOT / "bench/scale", *words], capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(problem, done.stderr)


if __name__ == "__main__":
    unittest.main()
