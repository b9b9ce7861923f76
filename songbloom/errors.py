"""What the library raises for a user's mistake: what happened and where, then what to do next.

Exit codes are the command line's contract: 1 failure, 2 usage, 3 partial, 4 a missing asset or a
licence not accepted, 130 interrupted with the state saved.
"""


class SongBloomError(Exception):
    """An error whose message a user can act on.

    `message` is one line saying what, where and what was expected; `hint` is one line saying what
    to type next (may be empty).
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SongBloomError):
    """An option, a config key or a combination of them that cannot be meant."""

    exit_code = 2


class PartialError(SongBloomError):
    """Some items of a batch failed; the others are done."""

    exit_code = 3


class MissingAssetError(SongBloomError):
    """A model, an extra or a program that is not installed, or a licence that was not accepted."""

    exit_code = 4
