"""The bearer key of the service."""

import hashlib
import hmac
from pathlib import Path

from app.errors import Misconfigured

MIN_CHARACTERS = 16


class BearerKey:
    """A key that requests must carry. Only its hash is kept; ``id`` names it where an actor is written down."""

    def __init__(self, key: str) -> None:
        self._hash = _hash(key)
        self.id = f"key-{_hash('sonoseek/key-id ' + key).hex()[:12]}"

    def opens(self, presented: str) -> bool:
        """Whether the presented key is the right one, in constant time."""
        return hmac.compare_digest(_hash(presented), self._hash)


def read_key(path: Path) -> BearerKey:
    """The key in a file; raises Misconfigured ``bad_key_file``."""
    key = read_foreign_key(path)
    if len(key) < MIN_CHARACTERS or not key.isascii() or any(character.isspace() for character in key):
        raise Misconfigured(
            "bad_key_file",
            f"the key is not one word of at least {MIN_CHARACTERS} ASCII characters",
            hint=f"write a new one: openssl rand -hex 24 > {path}",
        )
    return BearerKey(key)


def read_foreign_key(path: Path) -> str:
    """A key as it stands in a file, without white space around it; raises Misconfigured ``bad_key_file``."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            "bad_key_file",
            f"the key file cannot be read ({type(error).__name__})",
            hint=f"check that {path} exists, is readable and is the file that the settings should name",
        ) from None


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
