"""The second process of `sharing.share_work`: it does what the first one names on the standard input, the
last thing first, and ends with the first one.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from helpers.errors import StudyError
from helpers.study.grid import CellPlan
from helpers.study.sharing import KINDS_OF_WORK
from helpers.study.study import Study
from helpers.threads import share_cores


def main() -> None:
    """Do the work."""
    share_cores()
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    for part in reversed(asked):
        study = Study.from_fields(part["study"])
        for kind, name, n_rows, seed in reversed(part["cells"]):
            try:
                KINDS_OF_WORK[kind].make(study, CellPlan(name, n_rows, seed))
            except StudyError as error:  # the first process comes to it, and says it to the user
                print(f"{name}: {error}", file=sys.stderr, flush=True)  # noqa: T201 (into the log)


def _end_with_input() -> None:
    """End this process once its input is closed: the first one has ended, in whatever way."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
    os._exit(0)  # the thread that reads the input would keep Python from ending cleanly
