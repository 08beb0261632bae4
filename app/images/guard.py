"""Keeps the words of decoders, which may quote a header, out of errors, warnings and logs."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from app.errors import BadInput, SonoSeekError

Result = TypeVar("Result")

DECODERS = ("pydicom", "PIL", "openjpeg", "pylibjpeg", "jpeg_ls")
SILENT = logging.CRITICAL + 1
QUIET_MODULES = "|".join(DECODERS)
QUIET: Any = ("ignore", None, Warning, re.compile(QUIET_MODULES), 0)


def guarded(work: Callable[[], Result]) -> Result:
    """Run a decoder; whatever it raises becomes BadInput ``undecodable_image`` without the library's text."""
    _hush()
    try:
        return work()
    except SonoSeekError:
        raise
    except Exception:
        refusal = undecodable()
    # Raised out here so that not even its context holds what the decoder said.
    raise refusal


def undecodable() -> BadInput:
    """The refusal of bytes that no decoder understands."""
    return BadInput(
        "undecodable_image",
        "the image is damaged, cut short or not of the kind it claims to be",
        hint="check that the file opens in a viewer and was sent whole",
    )


def _hush() -> None:
    """Silence the decoders' loggers and warnings: on each call, since others may reset both."""
    for name in DECODERS:
        logger = logging.getLogger(name)
        if logger.level != SILENT:
            logger.setLevel(SILENT)
    # No catch_warnings: it swaps a global list and is not safe between threads.
    if list(warnings.filters[:1]) != [QUIET]:
        warnings.filterwarnings("ignore", module=QUIET_MODULES)
