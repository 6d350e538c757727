"""The one exception that means: the reader of this message can fix it."""


class StudyError(Exception):
    """Something the user can put right; the message says what is wrong, what was found and what to do."""
