"""The secret behind patient keys."""

import os
import stat
import subprocess
import sys

import pytest

from app.config import SecuritySettings, Settings
from app.errors import Misconfigured
from app.security.keys import BearerKey, read_key
from app.security.secret import make_secret, read_secret
from app.wiring import open_library


def test_a_secret_is_made_once_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "new" / "hmac.key"
    first = make_secret(path)
    assert len(first) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert make_secret(path) == first
    assert [file.name for file in path.parent.iterdir()] == ["hmac.key"]


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_a_missing_or_short_secret_is_refused(tmp_path, content):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured) as caught:
        read_secret(path)
    assert caught.value.code == "bad_secret"


def test_two_processes_with_different_secrets_on_one_database(tmp_path):
    """The second refuses: patient exclusion and erasure would silently match nothing."""
    outcomes = []
    for name in ("first", "second", "first"):
        path = tmp_path / name
        if not path.exists():
            path.write_text(os.urandom(32).hex(), encoding="ascii")
        environment = {
            "SONOSEEK_DATA": str(tmp_path / "data"),
            "SONOSEEK_SECURITY__HMAC_KEY_FILE": str(path),
            "PATH": "/usr/bin:/bin",
        }
        outcomes.append(
            subprocess.run(
                [sys.executable, "-m", "app", "libraries"], env=environment, capture_output=True, text=True, check=False
            )
        )
    assert [outcome.returncode for outcome in outcomes] == [0, 2, 0]
    assert "other_secret" in outcomes[1].stderr
    assert "SONOSEEK_SECURITY__HMAC_KEY_FILE" in outcomes[1].stderr


def test_a_lost_secret_is_not_replaced_while_there_is_a_database(tmp_path):
    settings = Settings(data=tmp_path)
    open_library(settings)
    (tmp_path / "hmac.key").unlink()
    with pytest.raises(Misconfigured) as caught:
        open_library(settings)
    assert caught.value.code == "bad_secret"
    assert not (tmp_path / "hmac.key").exists()


def test_a_secret_file_that_is_set_is_used(tmp_path):
    path = tmp_path / "outside"
    path.write_bytes(b"s" * 40)
    settings = Settings(data=tmp_path / "data", security=SecuritySettings(hmac_key_file=path))
    open_library(settings)
    assert not (tmp_path / "data" / "hmac.key").exists()


@pytest.mark.parametrize("content", ["", "short", "two words of enough length", "ümlaut-key-of-enough-length"])
def test_a_key_file_holds_one_long_word(tmp_path, content):
    path = tmp_path / "key"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(Misconfigured) as caught:
        read_key(path)
    assert caught.value.code == "bad_key_file"


def test_only_the_right_key_opens(tmp_path):
    path = tmp_path / "key"
    path.write_text("a-key-of-enough-length\n", encoding="ascii")
    key = read_key(path)
    assert key.opens("a-key-of-enough-length")
    assert not key.opens("a-key-of-enough-lengtH")
    assert not key.opens("")
    assert "enough" not in repr(vars(BearerKey("a-key-of-enough-length")))


def test_processes_that_start_at_once_on_an_empty_directory_all_come_up(tmp_path):
    environment = {"SONOSEEK_DATA": str(tmp_path / "data"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "app", "libraries"]
    started = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(4)]
    ends = [(process.communicate()[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [0] * 4, ends
