"""A writer that is killed at random moments loses nothing.

The long form: python tests/slow/crash_loop.py --kills 200.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_ten_kills_lose_nothing():
    # A process of its own: it forks writers, and this one has threads.
    loop = [sys.executable, str(Path(__file__).parent / "crash_loop.py"), "--kills", "10", "--seed", "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(loop, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10 kills")
