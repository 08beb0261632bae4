"""The settings in force for a command, with the log that they ask for."""

import tomllib

from pydantic import ValidationError
from pydantic_settings import SettingsError

from app.config import Settings
from app.errors import Misconfigured
from app.logs import configure_logs


def current_settings() -> Settings:
    """Read the environment and ``sonoseek.toml``; raises Misconfigured ``bad_settings``."""
    try:
        settings = Settings()
    except (ValidationError, SettingsError, tomllib.TOMLDecodeError) as error:
        names = _setting_names(error)
        raise Misconfigured(
            "bad_settings",
            f"these settings cannot be used: {names}",
            hint="docs/configuration.md describes every setting; check the environment and sonoseek.toml",
        ) from None
    configure_logs(settings.log.level, settings.log.format)
    return settings


def _setting_names(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return ", ".join(".".join(str(part) for part in fault["loc"]) for fault in error.errors())
    return "sonoseek.toml is no TOML" if isinstance(error, tomllib.TOMLDecodeError) else "a room is no table"
