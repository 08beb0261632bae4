"""A table of a manifest as a checked, frozen object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import Misconfigured


class ManifestTable(BaseModel):
    """The entries of one table; unknown ones are faults, since a typo would be silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: ClassVar[str]
    """Its name in the manifest."""

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> Self:
        """The checked table; raises Misconfigured ``bad_preprocess`` or ``bad_network`` and names the faults."""
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            raise Misconfigured(
                f"bad_{cls.table}",
                f"the [{cls.table}] table of a manifest cannot be used",
                hint=f"check these keys: {'; '.join(_fault(fault['loc'], fault['msg']) for fault in error.errors())}",
            ) from error


def _fault(place: tuple[int | str, ...], message: str) -> str:
    return f"{'.'.join(str(part) for part in place)} ({message})" if place else message.removeprefix("Value error, ")
