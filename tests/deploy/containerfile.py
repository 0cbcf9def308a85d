"""Reads a Containerfile, and carries out the steps of a stage in a folder by chroot."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """An instruction and its text."""

    name: str
    text: str


class Stage(NamedTuple):
    """A stage: what it begins with, its name, and its steps."""

    base: str
    name: str
    steps: list[Step]

    def last(self, name: str) -> str:
        """The text of the last instruction of a kind."""
        return [step.text for step in self.steps if step.name == name][-1]

    def words(self, name: str) -> list[str]:
        """The same, of an instruction that is written as JSON."""
        found: list[str] = json.loads(self.last(name))
        return found


KNOWN = frozenset(
    "FROM RUN COPY WORKDIR ARG ENV SHELL LABEL USER EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD".split()
)


def parse(text: str) -> list[Stage]:
    """The stages of a file."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        assert name in KNOWN, f"this test does not know {name}"
        if name == "FROM":
            words = rest.split()
            stages.append(Stage(words[0], words[2] if len(words) > 1 else "", []))
        else:
            stages[-1].steps.append(Step(name, " ".join(rest.split())))
    return stages


def carry_out(stage: Stage, root: Path, sources: dict[str, Path]) -> None:
    """Carries out the steps of a stage that change its file system.

    ``sources`` are the roots of the stages that `COPY --from` names.
    """
    folder, shell = "/", ["/bin/sh", "-c"]
    for step in stage.steps:
        if step.name == "WORKDIR":
            folder = step.text
            (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif step.name == "SHELL":
            shell = json.loads(step.text)
        elif step.name == "RUN":
            command = [*shell, f"cd {shlex.quote(folder)}\n{step.text}"]
            done = subprocess.run(
                ["chroot", str(root), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert done.returncode == 0, f"{step.text}:\n{done.stdout}"
        elif step.name == "COPY":
            source, target = _copied(step, sources)
            _copy(source, root / target.lstrip("/"))


def _copied(step: Step, sources: dict[str, Path]) -> tuple[Path, str]:
    option, source, target = step.text.split()
    stage = option.removeprefix("--from=")
    assert stage in sources, f"{step.text}: no stage {stage}"
    return sources[stage] / source.lstrip("/"), target


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
