"""Refuse to go on building an image with another build of torch than the one that was asked for."""

import sys
import sysconfig
from pathlib import Path

ADVICE = """torch {version} is a {found} build, but TORCH_BUILD={wanted}.
  cpu:  pass --build-arg TORCH_INDEX=ADDRESS, an index with CPU builds (PyTorch's own installation page names it)
  cuda: pass --build-arg TORCH_BUILD=cuda, with TORCH_INDEX for another CUDA than the one pip takes
"""


def main(wanted: str) -> int:
    """0 where the installed torch is ``cpu`` or ``cuda`` as wanted, else 1 with advice; torch is not imported."""
    facts: dict[str, str | None] = {}
    # Its version.py alone can be run before its libraries are there.
    exec((Path(sysconfig.get_path("purelib")) / "torch" / "version.py").read_text(encoding="utf-8"), facts)  # noqa: S102
    found = "cuda" if facts["cuda"] else "cpu"
    if found == wanted:
        return 0
    sys.stderr.write(ADVICE.format(version=facts["__version__"], found=found, wanted=wanted))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
