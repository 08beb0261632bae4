"""The secret that turns patient ids into keys: read from a file, or made once."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from app.errors import Misconfigured

MIN_BYTES = 32


def read_secret(path: Path) -> bytes:
    """The secret in a file, without surrounding white space; raises Misconfigured ``bad_secret``."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise Misconfigured(
            "bad_secret",
            f"the secret file cannot be read ({type(error).__name__})",
            hint=f"check that {path} exists and is readable; SONOSEEK_SECURITY__HMAC_KEY_FILE names it",
        ) from None
    if len(secret) < MIN_BYTES:
        raise Misconfigured(
            "bad_secret",
            f"the secret is shorter than {MIN_BYTES} bytes",
            hint=f"write a new one before anything is enrolled: openssl rand -hex 32 > {path}",
        )
    return secret


def make_secret(path: Path) -> bytes:
    """Write a new random secret that only its owner can read, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, encoding="ascii") as file:  # mode 0600
        file.write(secrets.token_hex(MIN_BYTES) + "\n")
        file.flush()
        with suppress(FileExistsError):
            os.link(file.name, path)
    return read_secret(path)
