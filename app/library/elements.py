"""The elements of JSON columns as tables, in the words of each database."""

from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.selectable import TableValuedAlias


class Elements:
    """Makes tables of JSON columns."""

    def __init__(self, dialect: str) -> None:
        self._is_sqlite = dialect == "sqlite"

    def of_list(self, column: InstrumentedAttribute[list[str]]) -> TableValuedAlias:
        """A table with the column ``value``."""
        function = func.json_each if self._is_sqlite else func.json_array_elements_text
        return function(column).table_valued("value")

    def of_object(self, column: InstrumentedAttribute[dict[str, Any]]) -> TableValuedAlias:
        """A table with the columns ``key`` and ``value``."""
        function = func.json_each if self._is_sqlite else func.json_each_text
        return function(column).table_valued("key", "value")
