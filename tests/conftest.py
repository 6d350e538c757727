"""Shared fixtures: a model made in the test (two random layers, its own tokenizer), a provider on this
machine, and a store of its own for each test.
"""

import os
import shutil
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = (
    "1"  # a toy model gains nothing from threads, and loses much to a busy machine
)

# toy models are compared digit by digit; factors rounded to bfloat16 (AMX) would move losses by hundredths
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE"

CORPUS = (
    "Below is a biomedical task. Write the response that completes it. ### Instruction: ### Input: ### "
    "Response: "
    "Which drug lowers the heart rate? metoprolol: active, warfarin: discontinued, penicillin: neither. yes "
    "no maybe "
    "The patient has a fever and a cough; the left knee is swollen and it hurts. Doctor: Patient: 0 1 2 3 4 "
    "5 6 7 8 9 mg"
)


def pytest_collection_modifyitems(items):
    """Let files with slow tests start first, then those with many tests: no process works long alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    n_tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -n_tests[item.path], item.path))


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """Give each test a store of its own, and quiet progress."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("STUDY_RUNS", str(folder))
    monkeypatch.setenv("STUDY_PROGRESS", str(tmp_path / "progress.jsonl"))
    return folder


@pytest.fixture(scope="session", autouse=True)
def commands():
    """Build the tree of commands once: typer's runner builds it anew for every call, which takes four fifths
    of a short one.
    """
    from functools import lru_cache

    from typer import testing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testing, "_get_command", lru_cache(testing._get_command))
        yield


@pytest.fixture
def file_limit():
    """Return a context that lets no file of this process grow beyond some bytes, as a full disk would."""
    resource = pytest.importorskip("resource", reason="this system limits no files")

    @contextmanager
    def limit(n_bytes):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture
def provider(monkeypatch):
    """Serve an OpenAI-compatible server in a thread, well-behaved unless a test makes it misbehave; set a
    key.
    """
    from helpers.bench.fake_server import FaultyServer

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-key-that-must-not-be-written")
    server = FaultyServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory):
    """Save a two-layer random LLaMA with a tokenizer trained on a few sentences; return its folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>"]
    tokenizer.train_from_iterator(
        [CORPUS],
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,
    )
    folder = tmp_path_factory.mktemp("toy-model")
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(
        folder
    )
    return str(folder)


@pytest.fixture
def tied_model(toy_model, tmp_path):
    """Save a toy model whose output embeddings are its input embeddings."""
    import torch
    from transformers import LlamaForCausalLM

    from helpers.models.load import load_config, load_tokenizer

    config = load_config(toy_model)
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "tied")
    load_tokenizer(toy_model).save_pretrained(tmp_path / "tied")
    return str(tmp_path / "tied")


@pytest.fixture(scope="session")
def shared_instruction_file(tmp_path_factory):
    """Write forty instruction rows, ten a category; return the file, which no test changes."""
    from helpers.jsonl import dump_rows
    from helpers.records import CATEGORIES

    rows = [
        {
            "id": f"{category}-{n}",
            "category": category,
            "instruction": f"Say how fever {n} is treated",
            "input": "cough" * (n % 3),
            "output": f"yes {n} mg",
        }
        for category in CATEGORIES
        for n in range(10)
    ]
    path = tmp_path_factory.mktemp("instructions") / "instructions.jsonl"
    path.write_text(dump_rows(rows))
    return path


@pytest.fixture
def instruction_file(shared_instruction_file, tmp_path):
    """Return a test's own copy of the forty instruction rows."""
    return Path(shutil.copy(shared_instruction_file, tmp_path))


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """Make a tiny BERT with a tokenizer of a few words stand where the encoder would lie in the cache."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from helpers.evaluation import bertscore
    from helpers.files import sha256_file

    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    folder = tmp_path / "models" / "all-minilm-l6-v2"
    folder.mkdir(parents=True)
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
    ).save_pretrained(folder)
    monkeypatch.setattr(bertscore, "FILES", {path.name: sha256_file(path) for path in folder.iterdir()})
    bertscore.load_encoder.cache_clear()
    yield folder
    bertscore.load_encoder.cache_clear()


@pytest.fixture
def checkpoint(tmp_path):
    """Save a tiny BERT with one output, as BLEURT's checkpoints are, and a tokenizer of letters; return its
    folder.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
    }
    torch.manual_seed(0)
    BertForSequenceClassification(
        BertConfig(vocab_size=len(words), num_labels=1, initializer_range=0.5, **sizes)
    ).save_pretrained(tmp_path / "bleurt")
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(tmp_path / "bleurt")
    return str(tmp_path / "bleurt")


PLANTED = (
    '<img src=x onerror="window.planted = 1"><script>window.planted = 1</script></script></pre></table> '
    '[a link](javascript:window.planted=1) {{ 7 * 7 }} $$x^2$$ `code` <!-- & "quotes" \\\\u003cimg src=y '
    "onerror='window.planted=1'\\\\u003e"
)
PLANTED_NOTEBOOK = (
    'planted: str = ""  # what an evil teacher or model wrote',
    """
    import pandas as pd
    from helpers.book import notebook
    from helpers.synthesis.parsing import parse_reply

    reply = "".join(f"4. {field}: {planted}\\n" for field in ("Instruction", "Input", "Output"))
    parsed = pd.DataFrame(parse_reply(reply))
    notebook.glue_values(planted=planted)
    notebook.show_text(reply)
    """,
    "notebook.show_table(parsed.assign(**{planted: 1.5}))",
    """
    from helpers.evaluation.answer_table import tabulate_answers
    from helpers.evaluation.settings import EvaluationSettings
    from helpers.evaluation.prepared_tasks import prepare_tasks

    settings = EvaluationSettings(tasks="evidence_yesno,patient_answer", n_items=2)
    items = [(run.task.name, item.id) for run in prepare_tasks(settings) for item in run.items]
    answers = pd.DataFrame(items, columns=["task", "item"]).assign(cell="base", response=planted, score=0.0)
    notebook.show_searchable(tabulate_answers(settings, answers).assign(**{planted: 1.5}))
    """,
)


@pytest.fixture(scope="session")
def render_pages():
    """Return a function that renders the pages of a folder that `build_pages` has prepared and returns the
    folder of the pages.
    """
    import subprocess
    import sys

    def render(folder):
        jupyter_book = Path(sys.executable).with_name("jupyter-book")
        command = [jupyter_book, "build", "book", "--config", "config.yml", "--path-output", "."]
        command += ["-n", "-W", "--keep-going"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return folder / "_build" / "html"

    return render


@pytest.fixture(scope="session")
def build_pages(render_pages):
    """Return a function that builds the pages of a folder's `book/` by the project's own settings and returns
    the folder of the pages.
    """
    import subprocess

    from helpers.paths import BOOK, ROOT

    def build(folder, root, repository="", chapters=()):
        shutil.copytree(BOOK / "_static", folder / "book" / "_static")
        shutil.copy(BOOK / "references.bib", folder / "book")
        listed = "chapters:\n" * bool(chapters) + "".join(f"  - file: {name}\n" for name in chapters)
        (folder / "book" / "_toc.yml").write_text(f"format: jb-book\nroot: {root}\n{listed}")
        write = ["make", "--silent", "config", f"REPOSITORY={repository}", f"CONFIG={folder / 'config.yml'}"]
        subprocess.run(write, cwd=ROOT, check=True)
        return render_pages(folder)

    return build


@pytest.fixture(scope="session")
def planted_page(tmp_path_factory, build_pages):
    """Run what a malicious teacher and model wrote through the notebooks' own helpers and build a page of it
    for a repository; return the page.
    """
    from textwrap import dedent

    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    from helpers.book.runner import run_notebook
    from helpers.paths import ROOT

    folder = tmp_path_factory.mktemp("planted")
    cells = [new_code_cell(dedent(source).strip()) for source in PLANTED_NOTEBOOK]
    cells[0].metadata["tags"] = ["parameters"]
    cells = [new_markdown_cell("# Planted\n\nGlued: {glue:text}`planted`"), *cells]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / "planted.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RUNS", str(folder / "runs"))
        patch.chdir(ROOT)
        run_notebook(folder / "planted.ipynb", {"planted": PLANTED}, folder / "book")
    return build_pages(folder, "planted", "https://github.com/some-one/a-study") / "planted.html"
