"""The page of findings says what the stored tables say.

Write it anew where these have changed: `STUDY_RECORD=1 python -m pytest tests/book/test_findings.py`.
"""

import os

from helpers.book import findings
from helpers.paths import RESULTS

PAGE = RESULTS / "findings.md"


def test_the_page_of_findings_is_that_of_the_stored_tables():
    written = findings.write_findings()
    if os.environ.get("STUDY_RECORD"):
        PAGE.write_text(written, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == written
