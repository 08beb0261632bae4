"""``python -m app`` is ``sonoseek``."""

from app.cli import main

main()
