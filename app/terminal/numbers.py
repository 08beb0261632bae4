"""Numbers as tables show them."""


def decimals(value: object, digits: int) -> str:
    """A number with so many digits behind the point; empty for what is no float."""
    return f"{value:.{digits}f}" if isinstance(value, float) else ""


def megabytes(count: int) -> str:
    """Bytes as MB."""
    return f"{count / 1e6:,.1f} MB"
