"""Opening a database that others open at the same moment."""

import sqlite3
from threading import Timer

from app.library.database import open_database


def test_a_new_database_that_another_process_writes_at_that_moment_is_waited_for(tmp_path):
    path = tmp_path / "sonoseek.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE theirs (x)")
    # In this state SQLite refuses a change of the journal mode at once, whatever the busy time-out.
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO theirs VALUES (1)")
    done = Timer(0.3, lambda: other.execute("COMMIT"))
    done.start()
    try:
        engine = open_database(f"sqlite:///{path}")
    finally:
        done.join()
        other.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()
