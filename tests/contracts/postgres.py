"""A PostgreSQL server of Debian's package for the time of the tests, reached over a socket in a temporary directory."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "sonoseek"


@contextmanager
def running_postgres() -> Iterator[Path]:
    """The directory of the running server's socket; skips where PostgreSQL is not installed."""
    programs = _programs()
    user = _ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="sonoseek-pg-"))  # short: a socket's path has at most 107 characters
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        _run(user, programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c full_page_writes=off"
        _run(user, programs / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
        try:
            yield folder
        finally:
            _run(user, programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@contextmanager
def fresh_database(socket: Path, name: str, template: str = "template1") -> Iterator[str]:
    """The address of a new database, a copy of its template, dropped afterwards."""
    import psycopg

    with psycopg.connect(f"host={socket} user={USER} dbname=postgres", autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield f"postgresql+psycopg://{USER}@/{name}?host={socket}"
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("no PostgreSQL: install Debian's package postgresql")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


def _ordinary_user() -> str | None:
    """Whom to run the server as: it refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")


def _run(user: str | None, *command: str | Path) -> None:
    prefix = [] if user is None else ["runuser", "-u", user, "--"]
    # A server that inherited a pipe would keep it open: its output goes nowhere.
    done = subprocess.run([*prefix, *command], check=False, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
