"""Whether the configured Prefect server takes our key, and what its refusals mean."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from configs.errors import HoneError, RequestError, RunError
from tasks.tracking.store import hide_password

KEY = "PREFECT_API_AUTH_STRING"
REFUSALS = {401, 403}


def check_access(url: str) -> None:
    """Ask the server for something that it tells only those whose key is right.

    Its health it tells everybody, and what it refuses later ends a run in the middle.

    Raises:
        RequestError: The server refuses the key.
    """
    request = Request(f"{url}/admin/version", headers=_make_headers())  # noqa: S310 - configured
    try:
        urlopen(request, timeout=10).close()  # noqa: S310 - the configured address
    except HTTPError as err:
        if err.code in REFUSALS:
            raise explain_refusal(url) from err
    except (URLError, OSError):
        return  # a server that is away at this moment is the business of who calls it next


def _make_headers() -> dict[str, str]:
    if text := os.environ.get(KEY):
        return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    return {}


def explain_refusal(url: str) -> RequestError:
    """Return the error for a server that asks for another key."""
    is_set = "a wrong one" if os.environ.get(KEY) else "none"
    return RequestError(
        message=f"the Prefect server at {hide_password(url)} asks for a key; found {is_set}",
        where=KEY,
        allowed="the server's PREFECT_SERVER_API_AUTH_STRING, USER:PASSWORD",
        hint="set it in the environment or in .env",
    )


@contextmanager
def explain_answers() -> Iterator[None]:
    """Turn what Prefect's client raises inside the block into one clear error.

    Raises:
        RequestError: The server refuses the key.
        RunError: It does not answer, or refuses something else.
    """
    import httpx
    from prefect.exceptions import PrefectException
    from prefect.settings import get_current_settings

    url = str(get_current_settings().api.url or "")
    try:
        yield
    except HoneError:
        raise
    except httpx.HTTPStatusError as err:
        if err.response.status_code in REFUSALS:
            raise explain_refusal(url) from err
        message = f"the Prefect server refuses this: {err.response.text[:500]}"
        raise RunError(message=message, where=hide_password(url)) from err
    except (httpx.HTTPError, PrefectException, RuntimeError, OSError) as err:
        message = f"the Prefect server does not answer ({type(err).__name__}: {err})"
        raise RunError(
            message=hide_password(message),
            where=hide_password(url) or "PREFECT_API_URL",
            hint="start it (`make up`, or `prefect server start`) and set PREFECT_API_URL",
        ) from err
