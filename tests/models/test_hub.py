"""What the hub answers, and what the reader is told: asked of a small server in place of the hub."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from helpers.models.hub import explain_hub_error, split_revision
from helpers.paths import ROOT

ANSWERS = {
    "meta-llama": (403, "GatedRepo"),
    "nobody": (401, "RepoNotFound"),
    "somebody": (404, "RevisionNotFound"),
}
ASK = """
import json
from helpers.errors import StudyError
from helpers.models.load import identify_model, load_config, load_model, load_tokenizer

for name in ("meta-llama/Llama-2-7b-hf", "nobody/nothing", "somebody/model@old"):
    for ask in (identify_model, load_config, load_tokenizer, load_model):
        try:
            ask(name)
        except StudyError as error:
            print(json.dumps([name, str(error)]))
"""


class Hub(BaseHTTPRequestHandler):
    """Refuses every request in the way of the hub."""

    def do_HEAD(self):
        status, code = next(answer for owner, answer in ANSWERS.items() if owner in self.path)
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_an_error_without_a_message_is_named_by_its_kind():
    assert "its cache: TimeoutError. Go online" in str(explain_hub_error("owner/name", TimeoutError()))


@pytest.mark.slow
def test_each_refusal_says_what_was_wrong_and_what_to_do(hub, tmp_path):
    environment = os.environ | {
        "HF_ENDPOINT": hub,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "src"),
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, env=environment, check=True, timeout=200
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = {
        "meta-llama/Llama-2-7b-hf": "Accept its terms at https://huggingface.co/meta-llama/Llama-2-7b-hf",
        "nobody/nothing": "was not found on the hub. Check the spelling",
        "somebody/model@old": "has no revision 'old'. Its branches and commits are listed at "
        "https://huggingface.co/somebody/model",
    }
    assert [name for name, _ in told] == [name for name in wanted for _ in range(4)]
    for name, message in told:
        assert wanted[name] in message


def test_a_revision_follows_the_name():
    assert split_revision("owner/name@v1.0") == ("owner/name", "v1.0")
    assert split_revision("owner/name") == ("owner/name", None)


def test_a_model_that_needs_its_own_code_is_refused():
    error = ValueError(
        "contains custom code which must be executed; pass the argument `trust_remote_code=True`"
    )
    assert "asks to run code from its repository" in str(explain_hub_error("owner/name", error))
