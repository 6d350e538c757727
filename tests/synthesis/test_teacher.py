"""The live teacher, through the real SDK, against a server on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from helpers.errors import StudyError
from helpers.synthesis.pipeline import SynthesisSettings, synthesize
from helpers.synthesis.teacher import live_teacher, parse_labels, replay_teacher

KEY = "sk-test-key-that-must-not-be-written"
ASKED = {4: "Which drug lowers this heart rate?", 5: "Summarize the visit for a relative"}
REPLY = "".join(f"{n}. Instruction: {text}\n{n}. Input: case {n}\n{n}. Output: drug\n" for n, text in ASKED.items())


@pytest.fixture
def server(monkeypatch):
    """Play an OpenAI-compatible server: tasks for the first kind of request, labels for the second."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((request, self.headers["Authorization"]))
            labelling = "JSON object" in request["messages"][0]["content"]
            content = 'Here: {"4": "qa", "5": "gen"}' if labelling else REPLY
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
            body = json.dumps({"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/v1", seen
    httpd.shutdown()
    httpd.server_close()


def test_a_live_run_asks_for_tasks_then_labels_and_never_writes_the_key(server, runs):
    url, seen = server
    run = synthesize(SynthesisSettings(teacher="toy", teacher_url=url, n_requests=2))
    kept = [json.loads(line) for line in run.file("instructions.jsonl").read_text().splitlines()]
    assert [row["category"] for row in kept] == ["qa", "gen"]  # the second reply repeats the first: nothing new in it
    assert {row["source"] for row in kept} == {"toy"}
    assert len(seen) == 4
    assert seen[0][1] == f"Bearer {KEY}"
    assert not any(KEY in path.read_text() for path in runs.rglob("*") if path.is_file())


def test_a_finished_live_run_asks_no_more(server):
    url, seen = server
    settings = SynthesisSettings(teacher="toy", teacher_url=url, n_requests=1)
    synthesize(settings)
    asked = len(seen)
    assert synthesize(settings).reused
    assert len(seen) == asked


def test_a_server_that_cannot_be_reached_is_one_message():
    ask = live_teacher("toy", "http://127.0.0.1:9/v1", 0.7)
    with pytest.raises(StudyError, match="'toy' did not answer request 3"):
        ask(3, ("seed-001",), "prompt")


def test_without_a_key_the_message_says_what_to_set(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(StudyError, match="OPENAI_API_KEY is not set"):
        live_teacher("gpt", "", 0.7)


def test_a_prompt_without_recorded_reply_is_an_error_with_a_way_out():
    with pytest.raises(StudyError, match="Ask for at most 48 requests"):
        replay_teacher()(99, ("seed-001",), "another prompt")


@pytest.mark.parametrize(
    ("text", "labels"), [('{"4": "qa"}', {4: "qa"}), ('x {"4": "QA", "5": "ie"} y', {5: "ie"}), ("none", {}), ("{broken", {}), ('{"a": "qa"}', {})]
)
def test_labels_that_are_no_category_are_left_out(text, labels):
    assert parse_labels(text) == labels
