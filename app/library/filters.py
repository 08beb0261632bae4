"""What a filter may name: one rule for pages of a library and for searches."""

from collections.abc import Callable, Iterable

from app.domain import ATTRIBUTES, LABEL_KINDS
from app.errors import BadInput


def refuse_unknown_filters(names: Iterable[str], is_attribute: Callable[[str], bool]) -> None:
    """Raise BadInput ``unknown_filter`` for what is neither a label kind nor an attribute.

    ``is_attribute`` tells whether a library has an attribute of that name, beside those that any library may have.
    """
    for name in names:
        if name not in (*LABEL_KINDS, *ATTRIBUTES) and not is_attribute(name):
            raise BadInput(
                "unknown_filter",
                "a filter names neither a label kind nor an attribute of this library",
                hint=f"label kinds are {', '.join(LABEL_KINDS)}; attributes are such as {', '.join(ATTRIBUTES)}",
            )
