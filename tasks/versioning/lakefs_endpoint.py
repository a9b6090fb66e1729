"""What may stand as the address of a lakeFS server."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from configs.errors import RequestError

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?")


def check_endpoint(endpoint: str, where: str) -> None:
    """Refuse what is no address of a server, before anything is sent to it.

    >>> check_endpoint("https://lakefs.example.com:8000/api/v1", "LAKEFS_ENDPOINT")

    Args:
        endpoint: The address; without a scheme it is taken for http, as the client does.
        where: The variable or setting that it comes from.

    Raises:
        RequestError: It is no http or https URL with a host.
    """
    problem = _find_problem(_add_scheme(endpoint))
    if problem:
        raise RequestError(
            where=where,
            message=f'"{hide_password(endpoint)}" is not the address of a server: {problem}',
            allowed="http://HOST:PORT or https://HOST",
            hint="`make lakefs` starts a server here and prints its address",
        )


def hide_password(endpoint: str) -> str:
    """Return an address without a user, a password, or a query.

    >>> hide_password("http://user:p#ss@host:80/path?key=1")
    'http://host:80/path'
    """
    scheme, _, rest = _add_scheme(endpoint).partition("://")
    address = re.split(r"[?#]", rest.rpartition("@")[2])[0]
    return f"{scheme}://{address}" if "://" in endpoint else address


def _add_scheme(endpoint: str) -> str:
    return endpoint if "://" in endpoint else f"http://{endpoint}"


def _find_problem(endpoint: str) -> str:
    if re.search(r"\s", endpoint):
        return "it holds a space"
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "its host or port cannot be read"
    if parts.scheme not in {"http", "https"}:
        return "its scheme is neither http nor https"
    if host in {"http", "https"}:
        return "its scheme is written twice or without its colon"
    if not HOST.fullmatch(host):
        return "it names no host" if not host else "its host is no name of a machine"
    return "" if port is None or port > 0 else "its port is 0"


def is_loopback_address(address: str) -> bool:
    """Tell whether an address is reached from its own machine alone.

    >>> is_loopback_address("http://localhost:4200/api"), is_loopback_address("https://hone.lan")
    (True, False)
    """
    host = urlsplit(_add_scheme(address)).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
