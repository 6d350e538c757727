"""Addresses of servers."""

import pytest

from helpers.errors import StudyError
from helpers.provider.urls import check_address, check_name, mask_address, normalize_address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://localhost:11434/v1",
        "https://api.example.org/openai/v1/",
        "http://[::1]:8000/v1",
        "http://host_1.local./v1",
        "HTTP://EXAMPLE.ORG",
    ],
)
def test_an_address_of_a_host_with_port_and_path_is_taken(url):
    check_address("teacher_url", url)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("localhost:11434/v1", "does not begin with http"),
        ("127.0.0.1:8000", "does not begin with http"),
        ("ftp://host/v1", "does not begin with http"),
        ("http:/host/v1", "does not begin with http"),
        ("http://", "host or its port cannot be one"),
        ("http://a..b/v1", "host or its port cannot be one"),
        ("http://" + "a" * 70 + ".org", "host or its port cannot be one"),
        ("http://127.0.0.1:99999/v1", "port out of range"),
        ("http://127.0.0.1:0/v1", "host or its port cannot be one"),
        ("http://127.0.0.1:http/v1", "port could not be cast"),
        ("http://[::1/v1", "invalid ipv6"),
        ("http://host/v1 ", "a space"),
        ("http://host\n/v1", "a space"),
        ("http://höst/v1", "outside ASCII"),
        ("http://host\udcff/v1", "outside ASCII"),
        ("http://host/v1?key=abc", "goes on after the path"),
        ("http://host/v1#abc", "goes on after the path"),
        ("http://user:secret@host/v1", "holds a user name or a password"),
        ("http://user@host/v1", "holds a user name or a password"),
        ("http://user:secret/x@host/v1", "holds a user name or a password"),
        ("http://user:12/secret@host/v1", "holds a user name or a password"),
    ],
)
def test_any_other_address_is_refused_before_anything_is_sent(url, fault):
    with pytest.raises(StudyError, match=f"`teacher_url` must be an address such as .*{fault}"):
        check_address("teacher_url", url)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@host/v1",
        "http://secret@host/v1",
        "user:secret@host/v1",
        "http://a@secret@host",
        "http://user:secret/secret@host/v1",
        "http://user:secret?secret@host/v1",
        "http://host?key=secret",
        "http://host#secret",
    ],
)
def test_what_may_be_secret_in_an_address_is_never_shown(url):
    assert "secret" not in mask_address(url)
    with pytest.raises(StudyError) as raised:
        check_address("judge_url", url)
    assert "secret" not in str(raised.value)


def test_one_server_has_one_account():
    forms = ["http://localhost:80/v1", "http://127.0.0.1/v1/", "HTTP://LOCALHOST//v1/", "http://[::1]/v1"]
    assert {normalize_address(form) for form in forms} == {"http://127.0.0.1/v1"}
    assert normalize_address("https://api.openai.com/v1/") == normalize_address("") == ""
    assert normalize_address("http://localhost:81/v1") != normalize_address("http://localhost/v1")
    assert normalize_address("http://host/a") != normalize_address("http://host/b")


@pytest.mark.parametrize("name", ["a\nb", "\udcff", "x" * 201, "\x1b[31m"])
def test_a_model_is_named_by_one_printable_line(name):
    with pytest.raises(StudyError, match="`teacher` must be the name of a model"):
        check_name("teacher", name)
