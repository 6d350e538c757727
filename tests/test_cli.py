"""The command line as a user meets it."""

import pytest
from typer.testing import CliRunner

from helpers.cli import app


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--profile", "huge"], "`profile` must be one of"),
        (["run", "--profile", "smoke", "-p", "lora_rnak=4"], "Did you mean `lora_rank`?"),
        (["run", "--profile", "smoke", "-p", "instructions=none.jsonl"], "none lies at 'none.jsonl'"),
        (["figures", "--profile", "smoke"], "No stored result of stage 'synthesis'"),
        (["fetch", "gpt2"], "must be one of smollm2-135m, gemma-3-270m"),
    ],
)
def test_a_mistake_is_one_clear_message_and_a_failing_exit(arguments, message):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_help_names_every_command():
    output = CliRunner().invoke(app, ["--help"]).output
    assert all(command in output for command in ("run", "figures", "fetch"))
