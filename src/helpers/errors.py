"""The one exception that means: the reader of this message can mend it."""


class StudyError(Exception):
    """Something the user can put right; the message says what is wrong, what was found and what to do."""
