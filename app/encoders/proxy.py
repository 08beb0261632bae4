"""Which proxy the environment names for an address, to be told in errors: never with its user and password."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_of(url: str) -> str | None:
    """Host and port of the proxy on the way to an address, as far as they can be read; None without one."""
    proxies = getproxies()
    try:
        parts = urlsplit(url)
        found = proxies.get(parts.scheme) or proxies.get("all")
        if not found or proxy_bypass(parts.hostname or ""):
            return None
        place = urlsplit(found if "://" in found else f"http://{found}")
    except ValueError:  # brackets that do not close
        return None
    try:
        return f"{place.hostname}:{place.port}" if place.port else place.hostname
    except ValueError:  # a port that is no number
        return place.hostname
