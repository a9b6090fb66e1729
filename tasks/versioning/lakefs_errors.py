"""What a failed call to lakeFS means, in one clear error that holds no secret."""

from __future__ import annotations

import json

from configs.errors import HoneError, RequestError, RunError

AUTHENTICATION_HINT = (
    "check LAKEFS_ACCESS_KEY and LAKEFS_SECRET_KEY; "
    "where they are not set, the settings of lakectl apply"
)


def list_lakefs_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions by which the client and its connection fail."""
    import lakefs_sdk.exceptions
    import urllib3.exceptions
    from lakefs.exceptions import LakeFSException

    return (
        LakeFSException,
        lakefs_sdk.exceptions.OpenApiException,
        urllib3.exceptions.HTTPError,
        ConnectionError,
        TimeoutError,
    )


def find_status(err: BaseException) -> int | None:
    """Return the HTTP status behind an exception of the client, or None for a lost connection."""
    for name in ("status_code", "status"):
        if isinstance(status := getattr(err, name, None), int) and status:
            return status
    return None


def read_message(err: BaseException) -> str:
    """Return the message in the body of a failed answer, empty when there is none."""
    body = getattr(err, "body", None) or {}
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body)
        except ValueError:
            return ""
    return str(body.get("message", "")) if isinstance(body, dict) else ""


def explain_failure(err: Exception, what: str, where: str, endpoint: str) -> HoneError:
    """Return the error to show for a failed call.

    Args:
        err: What the client raised.
        what: What was being done.
        where: The config key or command that asked for it.
        endpoint: The server's address, without secrets.
    """
    status, said = find_status(err), read_message(err)
    quoted = f" ({said})" if said else ""
    if status == 401:
        return RequestError(
            message=f"{what}: lakeFS at {endpoint} refuses the keys (401){quoted}",
            where=where,
            allowed="an access key and its secret that this server knows",
            hint=AUTHENTICATION_HINT,
        )
    if status == 403:
        return RequestError(
            message=f"{what}: these keys have no right to do that at {endpoint} (403){quoted}",
            where=where,
            hint="ask the server's administrator for the right, or use other keys",
        )
    if status == 404:
        return RequestError(
            message=f"{what}: {said or 'no such object'} at {endpoint} (404)",
            where=where,
            allowed="an existing lakefs://REPOSITORY/REF/PATH",
            hint="check the repository, the branch, tag or commit, and the path",
        )
    if status == 410:
        return RequestError(
            message=f"{what}: the object is in the commit, but its bytes were deleted by the "
            f"repository's retention rules (410){quoted}",
            where=where,
            hint="read a newer commit, or restore the object in the store",
        )
    if status is not None and 400 <= status < 500 and status not in {408, 429}:
        return RequestError(
            message=f"{what}: lakeFS at {endpoint} refuses it ({status}){quoted}", where=where
        )
    return _explain_outage(err, what, where, endpoint, status, quoted)


def _explain_outage(
    err: Exception, what: str, where: str, endpoint: str, status: int | None, quoted: str
) -> RunError:
    if status is None:
        cause = f"lakeFS at {endpoint} does not answer ({_name_cause(err)})"
        hint = "see that the server runs and that this machine reaches it, then run again"
    elif status == 429:
        cause = f"lakeFS at {endpoint} is throttling (429){quoted}"
        hint = "run again later; what was downloaded is kept"
    else:
        cause = f"lakeFS at {endpoint} failed ({status}){quoted}"
        hint = "see the server's log, then run again; what was downloaded is kept"
    return RunError(message=f"{what}: {cause}", where=where, hint=hint)


def _name_cause(err: Exception) -> str:
    """Return the innermost exception's kind; its text may hold a signed URL, so it is left out."""
    cause: BaseException = err
    while (inner := getattr(cause, "reason", None) or cause.__cause__) and isinstance(
        inner, BaseException
    ):
        cause = inner
    return type(cause).__name__
