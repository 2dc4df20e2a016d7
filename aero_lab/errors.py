"""Errors, in two classes: what the user can put right, and what a peer got wrong."""


class AeroLabError(Exception):
    """Base of everything this package raises on purpose."""


class UsageError(AeroLabError):
    """A wrong argument or setting: one clear line that says what to do. The command line prints it and exits with 2."""


class Malformed(AeroLabError):
    """Bytes from a peer that do not follow their format. Raised by value types only, never out of the data path.

    ``reason`` is a short stable word such as ``"ipv4-total-length"``, fit for a counter.
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
