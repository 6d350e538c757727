"""Shared fixtures: a model made in the test (two random layers, its own tokenizer), a provider on this machine, and a store of its own for each test."""

import os
import threading

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # a toy model gains nothing from threads, and loses much to a busy machine

CORPUS = (
    "Below is a biomedical task. Write the response that completes it. ### Instruction: ### Input: ### Response: "
    "Which drug lowers the heart rate? metoprolol: active, warfarin: discontinued, penicillin: neither. yes no maybe "
    "The patient has a fever and a cough; the left knee is swollen and it hurts. Doctor: Patient: 0 1 2 3 4 5 6 7 8 9 mg"
)


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """Give each test a store of its own, and quiet progress."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("STUDY_RUNS", str(folder))
    monkeypatch.setenv("STUDY_PROGRESS", str(tmp_path / "progress.jsonl"))
    return folder


@pytest.fixture
def provider(monkeypatch):
    """Serve an OpenAI-compatible server in a thread, well-behaved unless a test makes it misbehave; set a key."""
    from helpers.benchmarks.provider import Provider

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-key-that-must-not-be-written")
    server = Provider()
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
    tokenizer.train_from_iterator([CORPUS], trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
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
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return str(folder)


@pytest.fixture
def instruction_file(tmp_path):
    """Write forty instruction rows, ten a category; return the file."""
    from helpers.jsonl import dump_rows
    from helpers.records import CATEGORIES

    rows = [
        {"id": f"{category}-{n}", "category": category, "instruction": f"Say how fever {n} is treated", "input": "cough" * (n % 3), "output": f"yes {n} mg"}
        for category in CATEGORIES
        for n in range(10)
    ]
    path = tmp_path / "instructions.jsonl"
    path.write_text(dump_rows(rows))
    return path
