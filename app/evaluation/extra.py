"""The packages that a report needs beside SonoSeek's own."""

from __future__ import annotations

import importlib

from app.errors import Misconfigured

_DISTRIBUTIONS = {
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "skimage": "scikit-image",
    "cv2": "opencv-python-headless",
    "sewar": "sewar",
}
"""Module -> what brings it; the extra ``evaluation`` brings all."""


def check_report_extra() -> None:
    """Raise Misconfigured ``extra_missing`` with the names of all that a report lacks."""
    missing = [name for module, name in _DISTRIBUTIONS.items() if not _is_there(module)]
    if missing:
        raise Misconfigured(
            "extra_missing",
            f"a report needs {', '.join(missing)}, not installed here",
            hint="pip install 'sonoseek[evaluation]'; without --out the summary is printed and nothing else is needed",
        )


def _is_there(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return True
