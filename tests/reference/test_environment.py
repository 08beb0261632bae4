"""The environment that the other modules need."""

import pytest

from reference.conftest import MISSING


def test_the_authors_packages_are_here():
    if MISSING:
        pytest.skip(f"no {', '.join(MISSING)} here: run make test-reference")
