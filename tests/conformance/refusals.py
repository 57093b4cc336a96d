"""What a plugin says when it refuses something."""

from __future__ import annotations

from collections.abc import Callable


def refusal(call: Callable[[], object]) -> str | None:
    """The message of the ValueError that `call` raises; None if it raises nothing."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


def assert_refused(call: Callable[[], object], *words: str) -> None:
    """`call` raises ValueError, and its message has all `words`."""
    message = refusal(call)
    assert message is not None, f"expected a ValueError that names {words}, nothing was raised"
    lacking = [word for word in words if word not in message]
    assert not lacking, f"expected {lacking} in the message {message!r}"
