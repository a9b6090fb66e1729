"""Failures of the Hugging Face Hub in words that help; tokens and signed URLs are never shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from configs.errors import HoneError, RequestError, RunError

CONFLICTS = {409, 412}
URL = re.compile(r"https?://\S+")  # it may be a signed one
MAX_CHARACTERS = 200


@contextmanager
def explain_hub(what: str) -> Iterator[None]:
    """Say what a user can do about a failure of the hub; tokens and signed URLs are not shown.

    Args:
        what: The repository, or whatever is asked.

    Raises:
        RequestError: The hub refuses the token or the name.
        RunError: It does not answer, fails, or somebody else writes at the same time.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except HoneError:
        raise
    except HFValidationError:
        raise RequestError(
            where=what, message="not a name of a repository on the hub", allowed="OWNER/NAME"
        ) from None
    except HfHubHTTPError as err:
        raise explain_status(what, int(err.response.status_code)) from None
    except (OSError, RuntimeError, ValueError) as err:
        status = _find_status(err)
        if status:
            raise explain_status(what, status) from None
        said = URL.sub("", str(err).strip().split("\n")[-1])[:MAX_CHARACTERS]
        raise RunError(
            where=what,
            message=f"the upload was cut off, or the answer is not understood: "
            f"{type(err).__name__}: {said}",
            hint="nothing was moved: run again, and it goes on",
        ) from None
    except Exception as err:
        if "http" not in type(err).__module__:
            raise
        raise RunError(
            where=what,
            message=f"the hub does not answer, or the connection was cut ({type(err).__name__})",
            hint="nothing was moved: run again, and it goes on",
        ) from None


def _find_status(err: BaseException | None) -> int | None:
    """Return the HTTP status behind an error of an upload, which the client wraps."""
    while err is not None:
        status = getattr(getattr(err, "response", None), "status_code", None)
        if status:
            return int(status)
        err = err.__cause__ or err.__context__
    return None


def explain_status(what: str, status: int) -> RequestError | RunError:
    """Return what a user can do about an HTTP status of the hub."""
    if status == 401:
        return RequestError(
            where="HF_TOKEN",
            message="the hub does not accept the token",
            hint="make one with write access at https://huggingface.co/settings/tokens",
        )
    if status == 403:
        return RequestError(
            where=what,
            message="the token may not write there",
            hint="use a token with write access to it, or name a repository of yours",
        )
    if status == 404:
        return RequestError(
            where=what, message="no such repository, or none that the token may see"
        )
    if status in CONFLICTS:
        return RunError(
            where=what,
            message=f"somebody else writes to it at the same time (HTTP {status})",
            hint="run again",
        )
    return RunError(
        where=what, message=f"the hub failed (HTTP {status})", hint="run again, and it goes on"
    )
