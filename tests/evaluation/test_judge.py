"""The judge, through the real SDK, against a server on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from helpers.analysis.measures import share_preferences
from helpers.errors import StudyError
from helpers.evaluation import stage
from helpers.evaluation.judge import JudgeSettings, combine_orders, judge_pairs, judge_texts, open_judge, parse_marks, parse_preference
from helpers.evaluation.stage import EvaluationSettings, evaluate
from helpers.records import read_json_lines

KEY = "sk-test-key-that-must-not-be-written"
MARKS = '{"coherence": 4, "completeness": 2, "naturalness": 5}'


@pytest.fixture
def server(monkeypatch):
    """Play an OpenAI-compatible judge: the same marks for all; of two texts it prefers the one that says 'kind', else the first it is shown."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = request["messages"][0]["content"]
            seen.append((request, self.headers["Authorization"]))
            if "Text A:" in prompt:
                content = '{"better": "B"}' if "kind" in prompt.split("Text B:")[1] else '{"better": "A"}'
            else:
                content = "no marks" if "rude" in prompt.split("Text:\n")[-1] else f"Marks: {MARKS}"
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


@pytest.fixture
def settings(toy_model):
    return EvaluationSettings(model=toy_model, n_items=2, tasks="evidence_yesno,patient_answer")


def answer_with(monkeypatch, *texts):
    """Let every model write these texts and find every first option likeliest."""
    choice = {"loglikelihoods": [[0.0, -1.0]]}
    monkeypatch.setattr(stage, "answer_items", lambda model, tokenizer, exam: [choice if exam.task.is_choice else {"response": text} for text in texts])


def rows(run):
    return read_json_lines(run.file("measured.jsonl"))


def test_texts_are_marked_once_unparsed_replies_give_none_and_the_key_is_never_written(server, settings, monkeypatch, runs):
    url, seen = server
    answer_with(monkeypatch, "kind words\n### Input: more", "rude words")
    evaluation, judge = evaluate(settings), JudgeSettings(judge="toy-judge", judge_url=url)
    run = judge_texts(judge, settings, evaluation)
    assert [(row["coherence"], row["completeness"], row["naturalness"]) for row in rows(run)] == [(4, 2, 5), (None, None, None)]
    assert run.manifest["facts"] == {"n_items": 2, "n_unparsed": 1}
    assert len(seen) == 2
    assert "more" not in seen[0][0]["messages"][0]["content"].split("Text:\n")[-1]
    assert (seen[0][0]["model"], seen[0][0]["temperature"], seen[0][1]) == ("toy-judge", 0, f"Bearer {KEY}")
    assert not any(KEY in path.read_text() for path in runs.rglob("*") if path.is_file())


def test_a_judge_killed_half_way_is_not_asked_again_for_what_it_has_answered(server, settings, monkeypatch):
    url, seen = server
    answer_with(monkeypatch, "kind words", "rude words")
    evaluation, judge = evaluate(settings), JudgeSettings(judge="toy-judge", judge_url=url)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("helpers.evaluation.judge.parse_marks", lambda reply: (_ for _ in ()).throw(KeyboardInterrupt))
        judge_texts(judge, settings, evaluation)
    assert len(seen) == 1
    judge_texts(judge, settings, evaluation)
    assert len(seen) == 2


def test_pairs_are_judged_in_both_orders_and_a_liking_for_the_first_is_even(server, settings, monkeypatch):
    url, seen = server
    answer_with(monkeypatch, "kind words", "plain words")
    first = evaluate(settings)
    answer_with(monkeypatch, "curt words", "other words")
    monkeypatch.setattr(stage, "identify_model", lambda name: "another model")
    second = evaluate(settings)
    run = judge_pairs(JudgeSettings(judge="toy-judge", judge_url=url), settings, first, second)
    assert [(row["preference"], row["agrees"]) for row in rows(run)] == [(1.0, True), (0.5, False)]
    assert len(seen) == 4
    assert share_preferences({"first": run}).to_dict("records") == [
        {"cell": "first", "task": "patient_answer", "preference": 0.75, "agrees": 0.5, "n": 2, "unparsed": 0.0}
    ]


@pytest.mark.parametrize(
    ("straight", "turned", "preference", "agrees"),
    [
        ("A", "B", 1.0, True),
        ("B", "A", 0.0, True),
        ("tie", "tie", 0.5, True),
        ("A", "A", 0.5, False),
        ("B", "tie", 0.5, False),
        (None, "A", None, None),
    ],
)
def test_only_a_preference_that_holds_in_both_orders_counts(straight, turned, preference, agrees):
    assert combine_orders(straight, turned) == {"preference": preference, "agrees": agrees}


@pytest.mark.parametrize(
    "reply", ["", "4 2 5", '{"coherence": 4, "completeness": 2}', MARKS.replace("5", "6"), MARKS.replace("5", "4.5"), MARKS.replace("5", "true"), "[1]"]
)
def test_replies_that_are_not_three_whole_marks_give_none(reply):
    assert set(parse_marks(reply).values()) == {None}


@pytest.mark.parametrize(("reply", "better"), [('{"better": "B"}', "B"), ('so {"better": "tie"}.', "tie"), ('{"better": "both"}', None), ("A", None)])
def test_preferences_are_read_strictly(reply, better):
    assert parse_preference(reply) == better


def test_no_judge_the_teacher_as_judge_and_a_missing_key_are_refused(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(StudyError, match="There is no default"):
        open_judge(JudgeSettings())
    with pytest.raises(StudyError, match="must not be the teacher, but 'gpt' was found for both"):
        open_judge(JudgeSettings(judge="gpt", teacher="gpt"))
    with pytest.raises(StudyError, match="OPENAI_API_KEY is not set"):
        open_judge(JudgeSettings(judge="gpt"))


def test_a_judge_that_cannot_be_reached_is_one_message(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(StudyError, match="'toy' did not answer"):
        open_judge(JudgeSettings(judge="toy", judge_url="http://127.0.0.1:9/v1"))("prompt")
