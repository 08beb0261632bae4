"""The Dockerfile as data: what its stages copy and what its last stage runs."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stage:
    """One stage: its instructions in order."""

    name: str
    instructions: list[tuple[str, str]]

    def arguments(self, word):
        return [rest for instruction, rest in self.instructions if instruction == word]

    def copied(self):
        """What is copied from the build context."""
        copies = [rest.split() for rest in self.arguments("COPY") if not rest.startswith("--from")]
        return [source.rstrip("/") for *sources, _target in copies for source in sources]

    def environment(self):
        words = [word for rest in self.arguments("ENV") for word in shlex.split(rest)]
        return dict(word.split("=", 1) for word in words)

    def command(self):
        """Entry point and default arguments."""
        return [*json.loads(self.arguments("ENTRYPOINT")[-1]), *json.loads(self.arguments("CMD")[-1])]

    def health_command(self):
        return json.loads(self.arguments("HEALTHCHECK")[-1].partition("CMD ")[2])

    def user(self):
        uid, gid = self.arguments("USER")[-1].split(":")
        return int(uid), int(gid)


def read_stages():
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    stages = {}
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages[rest.split()[-1]] = Stage(rest.split()[-1], [])
        elif word and stages:
            list(stages.values())[-1].instructions.append((word, rest.strip()))
    return stages
