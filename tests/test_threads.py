"""Runs on one machine leave each other the cores."""

import os
import subprocess
import sys

import pytest

from helpers import cli


@pytest.mark.parametrize(("given", "found"), [(None, "passive"), ("active", "active")])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(given, found, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if not given:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    policies = []
    monkeypatch.setattr(cli, "app", lambda: policies.append(os.environ["OMP_WAIT_POLICY"]))
    cli.main()
    assert policies == [found]


def test_it_is_said_before_pytorch_is_imported():
    ask = "import sys, helpers.book.notebook, helpers.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", ask], check=True)
