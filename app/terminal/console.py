"""Where commands print, and what they all do: plain lines, JSON, errors with their hints."""

import json
import traceback

from rich.console import Console
from rich.text import Text

from app.errors import SonoSeekError

# Labels and names are printed as they are: nothing in them is markup, an emoji or a number to colour.
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
err = Console(markup=False, emoji=False, highlight=False, soft_wrap=True, stderr=True)


def print_json(value: object) -> None:
    """Plain JSON for scripts."""
    out.file.write(json.dumps(value, indent=2) + "\n")


def print_error(error: SonoSeekError) -> None:
    """An error and what can be done about it."""
    err.print(Text(error.code, "bold red") + f": {error.detail}")
    err.print(f"  {error.hint}")


def print_unexpected(error: Exception) -> None:
    """What nobody expected: its type and place, not its text, which may quote what a library was given."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    err.print(f"internal_error: {type(error).__name__} in {frame.name} ({frame.filename}:{frame.lineno})")
    err.print("  this is a defect of SonoSeek: report this line")
