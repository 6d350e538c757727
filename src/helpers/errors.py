"""The one exception that means: the reader of this message can fix it; and a full GPU."""

from helpers.redaction import hide_secrets


class StudyError(Exception):
    """Something the user can put right; the message says what is wrong, what was found and what to do, and
    shows no secret.
    """

    def __init__(self, message: str) -> None:
        super().__init__(hide_secrets(message))


def is_out_of_memory(error: Exception) -> bool:
    """Say whether an error is PyTorch's for a GPU that is full; PyTorch is not imported to be looked at."""
    return type(error).__name__ == "OutOfMemoryError"
