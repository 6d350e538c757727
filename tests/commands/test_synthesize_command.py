"""`study synthesize`: what it shows before it asks, and what it says of replies."""

import json

import pytest
from typer.testing import CliRunner

from helpers.bench import fake_server
from helpers.cli import app
from helpers.jsonl import read_json_lines

DIRTY = """<think>
4. Instruction: A draft that nobody should see
4. Input: d
4. Output: e
</think>
Here is the rest of the list:

```
4. **Instruction**: Name the drug that lowers the heart rate
   **Input**: None
   **Output**: metoprolol

---
### Task 5
5) Instruction: Write the dose as it stands in the note
5) Input: metoprolol 50 mg twice a day
5) Output: 50 mg twice a day
```

Let me know if you would like more tasks!
"""
LABELS = '[{"task": "Task 4", "category": "QA"}, {"task": "Task 5", "category": "information extraction"}]'


def synthesize(*arguments):
    return CliRunner().invoke(app, ["synthesize", "--profile", "smoke", *arguments])


@pytest.fixture
def answer(provider, monkeypatch):
    """Let the provider give these texts, one to a request for tasks, one to a request for categories."""

    def set_texts(tasks, labels):
        def complete(body):
            text = labels if body["messages"][0]["content"].startswith("Sort each") else tasks
            message = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
            return {"choices": [{"finish_reason": "stop", "message": message}], "usage": usage, "model": "m"}

        monkeypatch.setattr(fake_server, "complete", complete)
        given = [
            "-pteacher=toy",
            f"-pteacher_url={provider.url}",
            "-pmax_cost_tokens=1000000",
            "-pn_requests=1",
        ]
        return synthesize(*given)

    return set_texts


def test_a_dry_run_shows_prompt_body_and_estimate_and_sends_nothing(provider, runs, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    given = ["-pteacher=toy", f"-pteacher_url={provider.url}", "-pmax_cost_tokens=90000", "-pn_requests=5"]
    result = synthesize("--dry-run", *given)
    assert result.exit_code == 0, result.output
    assert "You write training tasks for a biomedical language model" in result.output
    assert "5 of 5 requests are still to be asked" in result.output
    assert "the cap is 90,000 tokens" in result.output
    body = json.loads(result.output[result.output.index("{\n") : result.output.rindex("\n}") + 2])
    assert body["max_tokens"] == body["max_completion_tokens"] == 6000
    assert body["messages"][0]["content"] in result.output
    assert not provider.sent
    assert not list(runs.rglob("*"))


def test_a_dry_run_of_recorded_replies_shows_their_prompt(runs):
    result = synthesize("--dry-run")
    assert result.exit_code == 0, result.output
    assert "1. Instruction:" in result.output
    assert "nothing is asked, nothing is paid" in result.output
    assert not list(runs.rglob("*"))


def test_of_a_dirty_reply_the_items_are_kept_clean_and_what_was_cut_is_counted(answer, runs):
    result = answer(DIRTY, LABELS)
    assert "2 rows kept of 2 tasks in 1 replies" in result.output
    assert "1 trimmed" in result.output
    rows = read_json_lines(next(runs.glob("synthesis/*/instructions.jsonl")))
    assert [(row["category"], row["instruction"], row["input"], row["output"]) for row in rows] == [
        ("qa", "Name the drug that lowers the heart rate", "", "metoprolol"),
        (
            "ie",
            "Write the dose as it stands in the note",
            "metoprolol 50 mg twice a day",
            "50 mg twice a day",
        ),
    ]


def test_tasks_without_a_category_are_said_to_be_unlabelled(answer):
    result = answer(DIRTY, "I would call the first one a question.")
    assert "0 rows kept of 2 tasks" in result.output
    assert "1 unlabelled" in result.output
    assert "garbled" not in result.output
