"""Who may come to the page of `agents.play`."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from aiohttp import web

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            "style-src 'unsafe-inline'",
            "script-src 'unsafe-inline'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    ),
    "Referrer-Policy": "no-referrer",  # an address may hold a token
    "Cache-Control": "no-store",
}


def check_visitor(request: web.Request, token: str | None) -> None:
    """Raises 403 without the token; and without one to ask for, for a name that is not this machine's own.

    A page of another site, whose name was made to mean this machine, would else be let in.
    """
    if token is None and not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
        raise web.HTTPForbidden(text=f"{request.host} is not this machine: open the address that was printed")
    if token is not None and not hmac.compare_digest(request.query.get("token", "").encode(), token.encode()):
        raise web.HTTPForbidden(text="the token is missing or wrong: open the address that was printed")


def check_origin(request: web.Request) -> None:
    """Raises 403 for a socket that a page of another site asks for."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise web.HTTPForbidden(text=f"a page of {origin} may not play here: open the address that was printed")


def is_loopback(host: str) -> bool:
    """Whether a name or address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
