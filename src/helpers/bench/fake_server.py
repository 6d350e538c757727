"""A fake provider that misbehaves: a local OpenAI-compatible server for tests and `study bench`, with latency
and faults to order.

It writes nonsense in the right form. What it answers is a function of the request alone; which requests meet
a fault of the line is drawn at random. It counts the answers it sent in full, so that a test can tell whether
anything was paid twice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("rate_limit", "server_error", "drop", "stall", "garbage", "no_choice")
CATEGORIES = ("qa", "ie", "gen", "other")
SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")
STALL_SECONDS = 2.5
FIRST, LAST = 4, 20


class FaultyServer(ThreadingHTTPServer):
    """The server: `latency_seconds` before each answer, a fault for a share `fault_rate` of the requests."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int = 0, latency_seconds: float = 0.0, fault_rate: float = 0.0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.latency_seconds, self.fault_rate = latency_seconds, fault_rate
        self.draw = random.Random(1)  # noqa: S311
        self.sent: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address to give to a client."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that are killed break the line."""


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions, and the few calls that batches need."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # headers and body leave apart: waiting for each other would add 40 ms to every answer
    )
    server: FaultyServer

    def do_POST(self) -> None:
        """Answer a completion, take a file, or make a batch."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/chat/completions":
            self._complete(data)
        elif self.path == "/v1/files":
            self._take_file(data)
        elif self.path == "/v1/batches":
            self._make_batch(json.loads(data))

    def do_GET(self) -> None:
        """Return statistics, a batch, all batches, or the content of a file."""
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["stats"]:
            self._send(200, {"sent": self.server.sent, "met": self.server.met})
        elif parts[1] == "batches" and len(parts) == 2:
            self._send(200, {"object": "list", "data": list(self.server.batches.values()), "has_more": False})
        elif parts[1] == "batches":
            self._send(200, self.server.batches[parts[2]])
        else:
            self._send_bytes(200, self.server.files[parts[2]].encode(), "application/jsonl")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def _complete(self, data: bytes) -> None:
        due = time.monotonic() + self.server.latency_seconds
        body = json.loads(data)
        name, answer = digest(body), json.dumps(complete(body)).encode()
        time.sleep(max(0.0, due - time.monotonic()))
        with self.server.lock:
            fault = (
                self.server.draw.choice(FAULTS)
                if self.server.draw.random() < self.server.fault_rate
                else None
            )
            self.server.met.update([fault] if fault else [])
        if fault:
            self._misbehave(fault)
            return
        self._send_bytes(200, answer, "application/json")
        with self.server.lock:
            self.server.sent[name] += 1

    def _misbehave(self, fault: str) -> None:
        if fault == "rate_limit":
            self._send(
                429,
                {"error": {"message": "slow down", "code": "rate_limit_exceeded"}},
                {"Retry-After": "0.05"},
            )
        elif fault == "server_error":
            self._send(500, {"error": {"message": "out of order"}})
        elif fault == "garbage":
            self._send_bytes(200, b'{"id": "x", "choi', "application/json")
        elif fault == "no_choice":
            self._send(
                200, {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": []}
            )
        else:
            if fault == "stall":
                time.sleep(STALL_SECONDS)
            self.close_connection = True

    def _take_file(self, data: bytes) -> None:
        text = data.decode()
        content = text[text.index("{") :].split("\r\n")[0] if '{"custom_id"' in text else ""
        name = f"file-{len(self.server.files)}"
        self.server.files[name] = content
        self._send(
            200,
            {
                "id": name,
                "object": "file",
                "bytes": len(data),
                "created_at": 0,
                "filename": "x",
                "purpose": "batch",
                "status": "processed",
            },
        )

    def _make_batch(self, request: dict[str, Any]) -> None:
        """Answer all requests of a batch at once, but show it as under way the first time it is looked at."""
        lines = [json.loads(line) for line in self.server.files[request["input_file_id"]].splitlines()]
        answers = [
            {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": complete(line["body"])}}
            for line in lines
        ]
        for line in lines:
            self.server.sent[digest(line["body"])] += 1
        output = f"file-{len(self.server.files)}"
        self.server.files[output] = "".join(json.dumps(answer) + "\n" for answer in answers)
        name = f"batch-{len(self.server.batches)}"
        counts = {"total": len(lines), "completed": 0, "failed": 0}
        batch = {
            "id": name,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": 0,
            "request_counts": counts,
        }
        self.server.batches[name] = batch | request | {"status": "completed", "output_file_id": output}
        self._send(200, batch | request | {"status": "in_progress"})

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(body).encode(), "application/json", headers)

    def _send_bytes(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def digest(body: dict[str, Any]) -> str:
    """Return the name of a request in the statistics."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def complete(body: dict[str, Any]) -> dict[str, Any]:
    """Return the completion of a request: tasks, or labels for tasks; some replies are cut off, refused,
    short of tasks or beside the point.
    """
    prompt = body["messages"][0]["content"]
    draw = random.Random(digest(body))  # noqa: S311
    finish_reason = "stop"
    if prompt.startswith("Sort each"):
        text = json.dumps(
            {number: draw.choice(CATEGORIES) for number in re.findall(r"^(\d+)\. ", prompt, re.MULTILINE)}
        )
    else:
        text, finish_reason = write_reply(draw, is_json="response_format" in body)
    message = {"role": "assistant", "content": text}
    usage = {
        "prompt_tokens": len(prompt) // 4,
        "completion_tokens": len(text) // 4,
        "total_tokens": (len(prompt) + len(text)) // 4,
    }
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": f"{body['model']}-2026-01-01",
        "choices": [choice],
        "usage": usage,
    }


def write_reply(draw: random.Random, is_json: bool) -> tuple[str, str]:
    """Return a reply and how it ended."""
    kind = draw.random()
    if kind < 0.02:
        return "", "content_filter"
    if kind < 0.04:
        return "I would rather talk about the weather.", "stop"
    last = draw.randint(8, LAST) if kind < 0.08 else LAST
    tasks = [write_task(draw) for _ in range(FIRST, last + 1)]
    if is_json:
        text = json.dumps({"tasks": [task | {"category": draw.choice(CATEGORIES)} for task in tasks]})
    else:
        text = "".join(
            f"{n}. Instruction: {task['instruction']}\n{n}. Input: {task['input']}\n{n}. Output: "
            f"{task['output']}\n"
            for n, task in enumerate(tasks, FIRST)
        )
    return (text[: int(len(text) * draw.uniform(0.3, 0.9))], "length") if kind > 0.95 else (text, "stop")


def write_task(draw: random.Random) -> dict[str, str]:
    """Return a task of invented words; one in twenty is one of a few that come again and again."""
    writer: Callable[[int], str] = lambda n: " ".join("".join(draw.choices(SYLLABLES, k=2)) for _ in range(n))  # noqa: E731
    if draw.random() < 0.05:
        return {
            "instruction": f"List every drug of note number {draw.randint(1, 9)} with its dose",
            "input": writer(8),
            "output": writer(4),
        }
    return {"instruction": writer(draw.randint(8, 20)), "input": writer(20), "output": writer(10)}


def main() -> None:
    """Serve until killed; prints the address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-seconds", type=float, default=0.0)
    parser.add_argument("--fault-rate", type=float, default=0.0)
    provider = FaultyServer(**vars(parser.parse_args()))
    print(provider.url, flush=True)  # noqa: T201
    provider.serve_forever()


if __name__ == "__main__":
    main()
