"""What no message shows."""

import logging

import pytest

from helpers.errors import StudyError
from helpers.progress import PROGRESS_VARIABLE, tell
from helpers.redaction import hide_secrets


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OPENAI_API_KEY", "s3cr3t-of-mine", "wrong key s3cr3t-of-mine"),
        ("HF_TOKEN", "hf_s3cr3t\nthe-s3cr3t\n", r"Illegal header value b'Bearer hf_s3cr3t\nthe-s3cr3t'"),
        ("HTTPS_PROXY", "http://user:s3cr3t@host:1", "Cannot connect to proxy http://user:s3cr3t@host:1"),
        ("https_proxy", "user:s3cr3t@host:1", "no scheme in 'user:s3cr3t@host:1'"),
        ("https_proxy", "http:/user:s3cr3t@host", "proxy URL with no authority: 'http:/user:s3cr3t@host'"),
        ("HTTPS_PROXY", "http://user:pa/s3cr3t@host:1", "Failed to parse: http://user:pa/s3cr3t@host:1"),
        ("ALL_PROXY", "http://user:s3c%23r3t@host", "Failed to parse: 's3c#r3t'"),
        ("PIP_INDEX_URL", "http://user:s3cr3t/pw@host", "not be cast to integer value as 's3cr3t'"),
        ("PIP_INDEX_URL", "https://s3cr3t-token@host", "401 for https://host with s3cr3t-token"),
        ("PIP_EXTRA_INDEX_URL", "http://a/ http://user:s3cr3t@b/ http://c/", "nothing at user:s3cr3t"),
        ("UNSET", "", "Port could not be cast to integer value as 's3cr3t'"),
        ("UNSET", "", "Cannot connect to http://user:s3cr3t@host"),
        ("UNSET", "", "Cannot connect to http://user:p@s3cr3t@host"),
        ("UNSET", "", 'Port could not be cast to integer value as "s3cr3t\'word"'),
        ("PIP_INDEX_URL", "https://s3cr3t-token:x-oauth-basic@host", "no access for s3cr3t-token"),
        ("UNSET", "", "no folder https://me:s3/s3cr3t@hub.example/x"),
        ("X_PROXIES", "http://a:1,http://user:s3cr3t@b:2", "the user has s3cr3t"),
    ],
)
def test_neither_errors_nor_progress_show_a_key_or_a_login(monkeypatch, caplog, name, value, said):
    monkeypatch.setenv(name, value)
    monkeypatch.delenv(PROGRESS_VARIABLE, raising=False)
    with caplog.at_level(logging.WARNING):
        tell(said)
    for shown in (hide_secrets(said), str(StudyError(said)), caplog.text):
        assert not any(part in shown for part in ("s3cr3t", "s3c#r3t"))
        assert "<" in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", "test"),
        ("HTTPS_PROXY", "http://host:3128"),
        ("TEAM_KEY", "home/python"),
        ("DATABASE_URL", "postgres://app:home@db/x"),
        ("PATH", "/usr/bin:/opt/python@3.11/bin:/home/a"),
        ("MAIL_FROM", "someone@host"),
        ("REPOSITORY", "git@host:home/python"),
        ("HTTPS_PROXY", "http://python:a3.11@host:3128"),
        ("MODEL_URL", "https://host/home/python@main"),
        ("MODEL_URL", "https://host:443/home/python@main"),
        ("HTTPS_PROXY", "http://me:home/meone@host:1"),
    ],
)
def test_other_words_of_the_environment_are_shown(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    said = (
        "A test of python at http://host:3128/home@1 for someone@host in /opt/python@3.11/bin, C:/me@work/a."
    )
    assert hide_secrets(said) == said
