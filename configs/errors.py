"""The errors that reach a user, each with where, what was found, what is allowed, what to do."""

from __future__ import annotations

TROUBLESHOOTING = "docs/troubleshooting.md"


class HoneError(Exception):
    """An error that is shown to the user as one clear message, without a traceback.

    Args:
        message: What was found.
        where: `file:line`, a config key or a reference; empty when the message says it.
        allowed: What would have been right.
        hint: What to do next.
        problems: For several errors at once, one message each.
    """

    code = "error"
    exit_code = 1

    def __init__(
        self,
        message: str = "",
        where: str = "",
        allowed: str = "",
        hint: str = "",
        problems: tuple[str, ...] = (),
    ) -> None:
        # All arguments go to Exception, so that the error survives pickling between processes.
        super().__init__(message, where, allowed, hint, problems)
        self.message = message
        self.where = where
        self.allowed = allowed
        self.hint = hint
        self.problems = problems

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        parts = [head]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.hint:
            parts.append(self.hint)
        return "\n".join(["; ".join(parts), *(f"  - {problem}" for problem in self.problems)])

    def to_dict(self) -> dict[str, object]:
        """Return the fields that `--json` prints under `error`."""
        fields: dict[str, object] = {
            "code": self.code,
            "where": self.where,
            "message": self.message,
            "allowed": self.allowed,
            "hint": self.hint,
        }
        return fields | ({"problems": list(self.problems)} if self.problems else {})


class RequestError(HoneError):
    """The request is wrong (config, data, reference, credentials); nothing was changed."""

    code = "request"
    exit_code = 3


class RunError(HoneError):
    """The run failed on the way (server away, disk full, a bug) and can be started again."""

    code = "run"
    exit_code = 1
