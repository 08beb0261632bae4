"""What to evaluate, and who is told how far it is."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.evaluation.controls import Sources
from app.evaluation.ground import Ground
from app.evaluation.natural import OpenEncoder
from app.evaluation.patient_report import Settings
from app.evaluation.protocol import KINDS
from app.evaluation.roles import PixelSet
from app.evaluation.tables import Table


@dataclass(frozen=True, slots=True)
class Options:
    """What to evaluate.

    ``left_out`` are organs that no fine-organ figure shall be about. ``times`` are Tables 4 and 5, ``pixel_set`` the
    pictures of Figure 1 and Tables 6 to 8, which are else chosen by rule; ``pixels`` False leaves out all that needs
    the extra. ``precision`` is that of this machine, for the encoders as they are served. ``encoder`` opens encoders
    that embed pictures anew: photographs, and those of the shortcut ``controls``, whose pictures come from there. In
    ``partial`` finished encoders are kept, so that an interrupted run can go on.
    """

    encoders: Sequence[str]
    settings: Settings = field(default_factory=Settings)
    kinds: Sequence[str] = KINDS
    left_out: Sequence[str] = ()
    times: Sequence[Table] = ()
    pixels: bool = True
    pixel_set: PixelSet | None = None
    precision: str = "fp32"
    example: str | None = None
    controls: Callable[[Ground], Sources] | None = None
    encoder: OpenEncoder | None = None
    partial: Path | None = None
    command: str = ""


class Progress(typing.Protocol):
    """Is told when a stage begins and how far it is."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A stage of so many steps; gives what is told of steps as they are done."""
        ...

    def note(self, text: str) -> None:
        """What a user should know at once."""
        ...


class Silence:
    """Tells nobody."""

    @contextmanager
    def stage(self, _title: str, _total: int) -> Iterator[Callable[[int], None]]:
        """A stage of which nothing is said."""
        yield lambda _done: None

    def note(self, _text: str) -> None:
        """Says nothing."""
