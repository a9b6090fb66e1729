"""What a client is told when its request cannot be answered, in the shape that OpenAI's has."""

from __future__ import annotations

from typing import Any


class RequestRefused(Exception):  # noqa: N818 - an answer, not a fault of the program
    """A request that is not answered.

    Args:
        status: The HTTP status.
        message: What was found, and what to do.
        code: A word for programs.
        param: The field of the request.
        retry_after: Seconds after which it may be asked again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(status, message, code, param, retry_after)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body of the response."""
        return describe_problem(self.status, self.message, self.code, self.param)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers


def describe_problem(
    status: int, message: str, code: str, param: str | None = None
) -> dict[str, Any]:
    """Return an error as OpenAI's clients read it."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
