"""The second process of `sharing.share_cells`: it makes the cells that the first one names on the standard
input, the last one first, and ends with the first one.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from helpers.study.cells import CellPlan
from helpers.study.sharing import WORK
from helpers.study.study import Study
from helpers.threads import share_cores


def main() -> None:
    """Make the cells."""
    share_cores()
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    study = Study.from_fields(asked["study"])
    for name, n_rows, seed in reversed(asked["cells"]):
        WORK[asked["work"]].make(study, CellPlan(name, n_rows, seed))


def _end_with_input() -> None:
    """End this process once its input is closed: the first one has ended, in whatever way."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
    os._exit(0)  # the thread that reads the input would keep Python from ending cleanly
