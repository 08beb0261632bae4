"""Log lines tell where something broke, and never what a library said about it."""

import json
import logging

import pytest
import structlog

from app.logs import configure_logs, get_logger


@pytest.fixture
def logs(capsys):
    """What has been written since, as a function."""
    root = logging.getLogger()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    configure_logs("info", "json")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**config)


def broken():
    raise ValueError("Planted^Name")


def test_an_exception_is_named_and_placed_but_not_quoted(logs):
    for log in (get_logger("http").error, logging.getLogger("uvicorn.error").error):
        try:
            broken()
        except ValueError:
            log("it broke", exc_info=True)
    lines = logs()
    assert len(lines) == 2
    for line in lines:
        assert (line["event"], line["exception"], line["level"]) == ("it broke", "ValueError", "error")
        assert "broken (" in line["where"]
        assert "Planted" not in json.dumps(line)


def test_the_level_holds_for_everyone(logs):
    get_logger("http").debug("quiet")
    logging.getLogger("uvicorn").info("heard")
    assert [line["event"] for line in logs()] == ["heard"]
