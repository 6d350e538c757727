"""What the hub answers, and what the reader is told: the real client asks a small server in place of the hub."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hub_server import COMMIT, OLDER, Hub

from helpers.models.hub import explain_hub_error, split_revision
from helpers.paths import ROOT

ASK = """
import json, os, sys
import time; T=time.time()
from typer.testing import CliRunner
from helpers.cli import app
from helpers.errors import StudyError
from helpers.evaluation.tasks import PUBLIC, load_items
from helpers.models.load import identify_model, load_config, load_model, load_tokenizer

def tell(name, ask, *arguments):
    try:
        found = str(ask(*arguments))
    except StudyError as error:
        found = str(error)
    print(json.dumps([name, found]), flush=True)
    import time; print(name, round(time.time()-T,2), found[:300].replace(chr(10)," "), file=open("/tmp/beyond/hub.log","a"), flush=True)

def count_weights(name):
    return load_model(name).num_parameters()

def read_items(task):
    return load_items(PUBLIC[task])[0]

def push(*arguments):
    done = CliRunner().invoke(app, ["push", *arguments])
    return f"{done.exit_code}: {done.output} {done.exception if done.exit_code > 1 else ''}"

for name in sys.argv[2:]:
    for ask in (identify_model, load_config, load_tokenizer, count_weights):
        tell(f"{name} {ask.__name__}", ask, name)
for task in ("medmcqa", "medqa"):
    tell(task, read_items, task)
for token in ("hf_good", "hf_bad"):
    os.environ["HF_TOKEN"] = token
    tell(token, push, sys.argv[1], "me/rows")
import huggingface_hub.constants
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
    "data.parquet": b"PAR1 rows",
    "README.md": b"---\nlicense: mit\n---\nRows.\n",
    "croissant.json": b"{}",
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


def test_debug(told):
    for name, text in told.items():
        print(name, "->", text[:600], "\n")
    assert 0
