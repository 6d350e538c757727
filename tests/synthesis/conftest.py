"""A provider on this machine, well-behaved unless a test makes it misbehave."""

import threading

import pytest

from helpers.benchmarks.provider import Provider

KEY = "sk-test-key-that-must-not-be-written"


@pytest.fixture
def provider(monkeypatch):
    """Serve an OpenAI-compatible server in a thread; set a key."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = Provider()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
