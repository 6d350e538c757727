"""Words of servers and models, made fit to be shown."""

import re

import pytest

from helpers.provider.text_cleaning import LONGEST_LINE, cut_reasoning, mask_key, name_source, quote_server

KEY = "sk-test-1234567890abcdef"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"message": "model 'x' not found", "code": "model_not_found"}, "model 'x' not found"),
        (
            {"detail": "Unexpected fields in the request: {'seed'}"},
            "Unexpected fields in the request: {'seed'}",
        ),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]}, "body.seed: Extra inputs"),
        ({"error": {"message": {"detail": [{"msg": "a"}, {"msg": "b"}]}}}, "a; b"),
        ("<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
        ("<html>x</html>", "a web page"),
        ({"status": 3}, '{"status": 3}'),
        ("two\nlines\tand \x1b[31mcolour", "two lines and [31mcolour"),
        (None, ""),
        ([], ""),
        ({}, "{}"),
    ],
)
def test_a_server_is_quoted_on_one_line(body, words):
    assert quote_server(body) == words


def test_a_long_message_is_cut_and_a_deep_one_ends():
    assert len(quote_server("word " * 10_000)) == LONGEST_LINE
    deep = "bottom"
    for _ in range(900):
        deep = {"error": deep}
    assert len(quote_server(deep)) <= LONGEST_LINE


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}.",
        "Incorrect key: sk-proj-abcdefgh12345678",
        "proxy http://user:hunter22@proxy.org failed",
        "header Authorization: Bearer hunter22-token",
        "header Proxy-Authorization: Basic dXNlcjpodW50ZXIyMg==",
        "header {&quot;Proxy-Authorization&quot;: &quot;Basic dXNlcjpodW50ZXIyMg==&quot;}",
        "header (b'authorization', b'Basic dXNlcjpodW50ZXIyMg==')",
        "header {'name': 'Authorization', 'value': 'basic dXNlcjpodW50ZXIyM'} cut",
        "gsk_abcdefghijkl is wrong",
        "AIzaSyabcdefghijkl is wrong",
        " " * (20 * LONGEST_LINE - 9) + KEY,
    ],
)
def test_keys_and_passwords_in_a_servers_words_are_masked(text, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    quoted = quote_server(text)
    assert "***" in quoted
    assert not any(secret in quoted for secret in (KEY, "hunter22", "dXNlcjpo", "abcdefgh"))


@pytest.mark.parametrize(
    "spelt",
    [
        "{}",
        "Ab9%2BzzKk77%2fSecret01%3D%3D",
        "Ab9&#43;zzKk77&#x2F;Secret01&#061;&#61;",
        "AB9+ZZKK77/SECRET01==",
    ],
)
def test_a_key_is_masked_as_addresses_and_pages_spell_it(spelt, monkeypatch):
    key = "Ab9+zzKk77/Secret01=="
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert quote_server(f"Incorrect key: {spelt.format(key)} here") == "Incorrect key: *** here"


@pytest.mark.parametrize(
    "spelt",
    [
        'se%cr&et"<key>12345\\',
        "se%cr&amp;et&quot;&lt;key&gt;12345\\",
        "se&percnt;cr&amp;amp;et&quot;&lt;key&gt;12345&bsol;",
        'se%cr&et\\"<key>12345\\\\',
        'se%cr\\u0026et\\"\\u003ckey\\u003e12345\\\\',
        "se%2525cr%2526et%2522%253Ckey%253E12345%255C",
        "&#115;e%cr\\x26&#x65;t&#34;&LT;key&GT;12345\\",
        "se%cr&amp;et\\&quot;&lt;key&gt;12345\\\\",
        'se%cr\\u0026amp;et\\"\\u0026lt;key\\u0026gt;12345\\\\',
        "se%25cr%26amp%3Bet%5C%26quot%3B%26lt%3Bkey%26gt%3B12345%5C%5C",
    ],
)
def test_a_key_with_punctuation_is_masked_as_pages_and_json_spell_it(spelt, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", 'se%cr&et"<key>12345\\')
    assert quote_server(f"Incorrect key: {spelt} here") == "Incorrect key: *** here"


@pytest.mark.parametrize("spelt", [r"sk\-test\-1234567890abcdef", re.escape(KEY), KEY.replace("-", "&#45;")])
def test_a_key_is_masked_as_markdown_and_patterns_escape_it(spelt, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert quote_server(f"key {spelt} is wrong") == "key *** is wrong"
    assert mask_key(f"key {spelt} is wrong") == "key *** is wrong"


@pytest.mark.parametrize("text", ["\\" * 100_000, "%25" * 30_000, "&amp;" * 20_000])
def test_a_long_run_of_escapes_is_no_work(text, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", 'se%cr&et"<key>12345\\')
    assert mask_key(text) == text


def test_the_word_basic_is_no_secret():
    assert quote_server("The basic plan needs Basic authentication.") == (
        "The basic plan needs Basic authentication."
    )


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>draft</think>\nanswer", "\nanswer"),
        ("<Thinking>a</Thinking><reasoning>b</reasoning>answer", "answer"),
        ("draft of a template that opens the tag itself</think>answer", "answer"),
        ("<think>cut off in the draft", ""),
        ("[THINK]draft[/THINK]answer", "answer"),
        ("<|channel|>analysis<|message|>draft<|end|><|channel|>final<|message|>answer<|return|>", "answer"),
        ("Dose < 3 mg [1]", "Dose < 3 mg [1]"),
        ("<reasoning>draft</reasoning> 4. Output: rest", " 4. Output: rest"),
        ("4. A<think>draft</think> B", "4. A B"),
        *(
            (text, text)
            for text in (
                "<drug>aspirin</drug><reason>stroke</reason>",
                "Write each as <drug>; <dose>; <reason>. Then stop.",
                "as needed</reason> and more",
                "Note the <thought> and the <reflection>",
            )
        ),
    ],
)
def test_drafts_of_a_reasoning_model_are_cut(text, answer):
    assert cut_reasoning(text) == answer


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("org/model-7b", "org/model-7b"),
        ("/home/somebody/models/tiny.gguf", "tiny.gguf"),
        ("C:\\models\\tiny.gguf", "tiny.gguf"),
        ("model\ud800 \x1b[0m", "model [0m"),
        ("m" * 1000, "m" * 197 + "..."),
        (None, ""),
        (7, ""),
    ],
)
def test_a_servers_name_of_its_model_is_made_fit_to_be_stored(name, source):
    assert name_source(name) == source
