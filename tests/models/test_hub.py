"""What the hub answers, and what the reader is told: its real client asks a small server in its place."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hub_server import COMMIT, OLDER, Hub

from helpers.errors import StudyError
from helpers.evaluation.loaders import read_hub
from helpers.evaluation.tasks import PUBLIC_TASKS
from helpers.models.hub import explain_hub_error, split_revision
from helpers.models.load import load_config
from helpers.paths import ROOT
from helpers.synthesis.export import CARD, CROISSANT, PARQUET

ASK = """
import json, os, sys

from typer.testing import CliRunner
from helpers.cli import app
from helpers.errors import StudyError
from helpers.evaluation.tasks import PUBLIC_TASKS, load_items
from helpers.models.load import identify_model, load_config, load_model, load_tokenizer

import huggingface_hub.file_download, huggingface_hub.utils._http
huggingface_hub.file_download.time.sleep = lambda seconds: None  # between its tries of a broken download

def tell(name, ask, *arguments):
    try:
        found = str(ask(*arguments))
    except StudyError as error:
        found = str(error)
    print(json.dumps([name, found]), flush=True)

def count_weights(name):
    return load_model(name).num_parameters()

def read_items(task):
    return load_items(PUBLIC_TASKS[task])[0]

def push(*arguments):
    done = CliRunner().invoke(app, ["push", *arguments])
    return f"{done.exit_code}: {done.output}"

for name in sys.argv[2:]:
    for ask in (identify_model, load_config, load_tokenizer, count_weights):
        tell(f"{name} {ask.__name__}", ask, name)
for task in ("medmcqa", "medqa"):
    tell(task, read_items, task)
for token in ("hf_good", "hf_bad"):
    os.environ["HF_TOKEN"] = token
    tell(token, push, sys.argv[1], "me/rows")
huggingface_hub.constants.ENDPOINT = "http://127.0.0.1:9"
tell("away", push, sys.argv[1], "me/rows")
"""
GATED, UNKNOWN, NO_REVISION = "meta-llama/Llama-2-7b-hf", "nobody/nothing", "owner/model@old"
NO_WEIGHTS, BROKEN, DAMAGED = "owner/no-weights", "owner/broken", "owner/damaged"
MODELS = ("owner/model", "owner/model@v1", GATED, UNKNOWN, NO_REVISION, NO_WEIGHTS, DAMAGED, BROKEN)
QUESTION = {
    "id": "q1",
    "question": "Which vitamin is lacking in scurvy?",
    "opa": "vitamin A",
    "opb": "vitamin C",
    "opc": "vitamin D",
    "opd": "vitamin K",
    "cop": 1,
}
DATASET = {
    PARQUET: b"PAR1 rows",
    CARD: b"---\nlicense: mit\n---\nRows.\n",
    CROISSANT: b"{}",
}


@pytest.fixture(scope="module")
def hub(toy_model):
    """Serve a hub with a model, a model without weights, one whose weights break off, and a public set."""
    server = Hub()
    files = {path.name: path.read_bytes() for path in Path(toy_model).iterdir()}
    without = {name: data for name, data in files.items() if not name.endswith(".safetensors")}
    server.repositories = {
        "owner/model": files,
        NO_WEIGHTS: without,
        BROKEN: files,
        DAMAGED: without | {"model.safetensors": files["model.safetensors"] + b" "},
        "datasets/openlifescienceai/medmcqa": {"validation.jsonl": json.dumps(QUESTION).encode() + b"\n"},
    }
    server.broken = {f"{BROKEN}/model.safetensors"}
    server.refusals = {"meta-llama": (403, "GatedRepo")}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def told(hub, tmp_path_factory):
    """Ask the hub for all in one process of its own, whose environment alone names the address; return what
    each question gave.
    """
    home = tmp_path_factory.mktemp("hub")
    folder = home / "dataset"
    folder.mkdir()
    for name, data in DATASET.items():
        (folder / name).write_bytes(data)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(ROOT / "src"),
    }
    command = [sys.executable, "-c", ASK, str(folder), *MODELS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


REFUSED = {
    GATED: "Accept its terms at https://huggingface.co/meta-llama/Llama-2-7b-hf",
    UNKNOWN: "was not found on the hub. Check the spelling",
    NO_REVISION: "has no revision 'old'. Its branches and commits are listed at https://huggingface.co/owner/",
}
ASKED = ("identify_model", "load_config", "load_tokenizer", "count_weights")


@pytest.mark.slow
def test_a_model_and_a_revision_are_fetched_and_named_by_their_commit(told):
    for name, commit in (("owner/model", COMMIT), ("owner/model@v1", OLDER)):
        assert told[f"{name} identify_model"] == f"owner/model@{commit}"
        assert told[f"{name} count_weights"].isdigit()


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_each_refusal_says_what_was_wrong_and_what_to_do(told, name):
    for ask in ASKED:
        assert REFUSED[name] in told[f"{name} {ask}"]


@pytest.mark.slow
def test_what_lacks_breaks_off_or_is_damaged_is_told(told):
    assert "lacks a file. It must hold config.json" in told[f"{NO_WEIGHTS} count_weights"]
    assert "could not be fetched whole: peer closed" in told[f"{BROKEN} count_weights"]
    assert "has damaged weights" in told[f"{DAMAGED} count_weights"]


@pytest.mark.slow
def test_a_public_set_is_read_from_the_hub_and_a_missing_one_is_told(told):
    assert "options=['vitamin A', 'vitamin C', 'vitamin D', 'vitamin K'], answer=1" in told["medmcqa"]
    assert "'medqa' could not be loaded from the hub" in told["medqa"]
    assert "Go online, or name a folder" in told["medqa"]


@pytest.mark.slow
def test_a_dataset_is_pushed_as_it_lies_and_private(told, hub):
    assert told["hf_good"].startswith("0: uploaded: http")
    assert hub.pushed == {"me/rows": DATASET}
    assert [(made["name"], made["organization"], made["visibility"]) for made in hub.created] == [
        ("rows", "me", "private")
    ]


@pytest.mark.slow
def test_a_push_that_is_refused_or_finds_no_hub_is_one_message(told):
    for name, reason in (("hf_bad", "401"), ("away", "Connection refused")):
        assert told[name].startswith("1: error: The hub did not take 'me/rows'")
        assert reason in told[name]


def test_an_error_without_a_message_is_named_by_its_kind():
    assert "its cache: TimeoutError. Go online" in str(explain_hub_error("owner/name", TimeoutError()))


def test_a_revision_follows_the_name():
    assert split_revision("owner/name@v1.0") == ("owner/name", "v1.0")
    assert split_revision("owner/name") == ("owner/name", None)


def test_a_model_that_needs_its_own_code_is_refused():
    error = ValueError(
        "contains custom code which must be executed; pass the argument `trust_remote_code=True`"
    )
    assert "asks to run code from its repository" in str(explain_hub_error("owner/name", error))


@pytest.mark.parametrize(
    "ask", [lambda: load_config("owner/name"), lambda: next(read_hub(PUBLIC_TASKS["medmcqa"]))]
)
def test_a_login_in_the_hubs_address_is_refused_before_a_library_can_log_it(ask, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://user:hunter22@host")
    with pytest.raises(StudyError, match="HF_ENDPOINT must be an address without") as caught:
        ask()
    assert "hunter22" not in str(caught.value)
