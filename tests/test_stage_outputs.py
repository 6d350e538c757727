"""Every computing stage on toy inputs gives the outputs that were recorded for its version: whoever changes
what a stage puts out must raise its version, so that no stored result of the old code is taken for one of the
new.

Record anew after that: `STUDY_RECORD=1 python -m pytest tests/test_stage_outputs.py`.
"""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.evaluation import stage
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import evaluate
from helpers.files import sha256_file, sha256_text
from helpers.jsonl import dump_rows
from helpers.paths import ROOT, SEEDS
from helpers.records import CATEGORIES

RECORDED = Path(__file__).with_name("stage_outputs.json")
COMMAND = f"STUDY_RECORD=1 python -m pytest tests/{Path(__file__).name}"
NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?", re.IGNORECASE)
LEFT_OUT = ("train.parquet", "adapter_config.json")  # their bytes depend on the versions of libraries
RATINGS = '{"coherence": 4, "completeness": 2, "naturalness": 5}'
MENTIONS = [
    {
        "id": name,
        "split": split,
        "text": text,
        "gold": [{"forms": ["Gout"]}, {"forms": ["asthma"]}],
    }
    for name, split, text in (
        ("a", "train", "Gout and asthma"),
        ("b", "test", "Gout, not asthma"),
        ("c", "test", "Gout, not asthma"),
    )
]


def answer_half_right(model, tokenizer, prepared, partial):
    """Answer in place of a model: nearly what is wanted, with a line that is not."""
    if prepared.task.is_choice:
        return [
            {"loglikelihoods": [[-float(n) for n in range(len(item.options))]]} for item in prepared.items
        ]
    return [
        {"response": f"{prepared.task.write_reference(item)[:200]}\nginger: active"}
        for item in prepared.items
    ]


class Toys:
    """The toy inputs of all stages; stages that read another one's results find them in the test's store."""

    def __init__(self, request):
        self._request = request

    def get(self, fixture):
        return self._request.getfixturevalue(fixture)

    @property
    def settings(self):
        return EvaluationSettings(model=self.get("toy_model"), n_items=2, dtype="float32")

    @property
    def texts(self):
        """An evaluation of one task with generated texts."""
        settings = replace(self.settings, tasks="patient_answer")
        return settings, evaluate(settings)

    def synthesis(self):
        from helpers.synthesis.pipeline import synthesize
        from helpers.synthesis.settings import SynthesisSettings

        return [synthesize(SynthesisSettings(n_requests=2))]

    def dataset(self):
        from helpers.synthesis.export import export_dataset

        return [export_dataset(run) for run in self.synthesis()]

    def agreement(self):
        from helpers.synthesis import categories

        self.get("monkeypatch").setattr(categories, "N_RESAMPLES", 5)
        return [categories.compare_labellers()]

    def rows(self):
        from helpers.store import load_run
        from helpers.synthesis.user_rows import prepare_rows_file

        path = self.get("tmp_path") / "rows.jsonl"
        rows = [
            {"instruction": "Which drug lowers the heart rate?", "output": "metoprolol", "extra": [1]},
            {"id": 7, "category": "ward", "instruction": "Name a drug", "input": None, "output": "iron"},
            {"instruction": "Say nothing", "output": " "},
        ]
        path.write_text(dump_rows(rows))
        return [load_run(prepare_rows_file(path).parent)]

    def filter(self):
        from helpers.synthesis.filter_files import filter_file
        from helpers.synthesis.settings import FilterSettings

        instructions = (
            "List every drug in the note with its dose",
            "List every drug in the note with the dose",
            "Name one sign of heart failure",
            "Explain",
        )
        rows = [{"instruction": text, "output": "x"} for text in instructions]
        path = self.get("tmp_path") / "rows.jsonl"
        path.write_text(dump_rows(rows))
        return [filter_file(path, FilterSettings(0.7, 3, 150))]

    def public_rows(self):
        from helpers.synthesis.public_rows import FILES, MIRROR, load_public_rows

        places = [[f"TASA:{path}"] for files in FILES.values() for path in files] + [["Data-Whisperer:x"]]
        rows = [
            {"instruction": f"Say {n}", "input": "", "output": "yes", "sources": sources}
            for n, sources in enumerate(places)
        ]
        (self.get("tmp_path") / MIRROR).write_text(dump_rows(rows))
        return [load_public_rows(self.get("tmp_path"))]

    def tuning(self):
        from helpers.tuning.settings import TuningSettings
        from helpers.tuning.stage import tune

        model = self.get("toy_model")
        settings = TuningSettings(
            model, n_rows=8, epochs=2, batch_size=4, lora_rank=2, dtype="float32", lora_dropout=0.1
        )
        return [tune(settings, self.get("instruction_file"))]

    def lengths(self):
        from helpers.jsonl import read_rows
        from helpers.prompts import PAPERS_FORMAT
        from helpers.records import Instruction
        from helpers.store import load_run
        from helpers.tuning.lengths import load_lengths

        rows = read_rows(self.get("instruction_file"), Instruction)
        inputs = {"instructions": "toy", "model": "toy"}
        load_lengths(self.get("toy_model"), rows, PAPERS_FORMAT, inputs)
        [folder] = (self.get("runs") / "lengths").iterdir()
        return [load_run(folder)]

    def held_out(self):
        from helpers.evaluation.held_out import measure_held_out

        return [measure_held_out(self.settings, 2, None, self.get("instruction_file"), CATEGORIES, 64)]

    def answer_loss(self):
        from helpers.evaluation.answer_loss import measure_answer_loss

        return measure_answer_loss(self.settings, 2)

    def split(self):
        from helpers.synthesis.split import hold_out

        return [hold_out(self.get("instruction_file"), 0.2)]

    def answers(self):
        runs = self.get("runs")
        self.evaluation()
        from helpers.store import load_run

        found = [load_run(folder) for folder in (runs / "answers").iterdir()]
        return sorted(found, key=lambda run: str(run.manifest["settings"]))

    def evaluation(self):
        by_letter = replace(self.settings, tasks="exam_choice", choice_scoring="letter", permute_options=True)
        runs = [evaluate(self.settings), evaluate(by_letter)]
        self.get("monkeypatch").setattr(stage, "answer_items", answer_half_right)
        (self.get("tmp_path") / "ncbi_disease.jsonl").write_text(dump_rows(MENTIONS))
        mentions = replace(self.settings, tasks="ncbi_disease")
        return [
            *runs,
            evaluate(replace(self.settings, n_items=12)),
            evaluate(mentions, data=self.get("tmp_path")),
        ]

    def bertscore(self):
        from helpers.evaluation.bertscore import measure_bertscore

        self.get("encoder")
        return [measure_bertscore(*self.texts)]

    def bleurt(self):
        from helpers.evaluation.bleurt import measure_bleurt

        return [measure_bleurt(self.get("checkpoint"), *self.texts)]

    def judge(self):
        from helpers.evaluation.judge import judge_texts

        return [judge_texts(self._judge(RATINGS), *self.texts, limits=self._limits())]

    def judge_pairs(self):
        from helpers.evaluation.judge import judge_pairs

        settings, run = self.texts
        return [judge_pairs(self._judge('{"better": "A"}'), settings, run, run, limits=self._limits())]

    def _judge(self, reply):
        """Return a judge that always says the same and the sha256 of what it was asked as its name."""
        from helpers.bench import fake_server
        from helpers.evaluation.judge import JudgeSettings

        def complete(body):
            asked = sha256_text(json.dumps(body["messages"]))
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply}}
            usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
            facts = {"id": "x", "object": "chat.completion", "created": 0, "model": asked}
            return facts | {"choices": [choice], "usage": usage}

        self.get("monkeypatch").setattr(fake_server, "complete", complete)
        return JudgeSettings(judge="toy-judge", judge_url=self.get("provider").url)

    def _limits(self):
        from helpers.provider.ledger import ProviderLimits

        return ProviderLimits(max_cost_tokens=10**6)


STAGES = sorted(name for name in vars(Toys) if name[0] != "_" and name not in ("get", "settings", "texts"))


def describe_file(path, hidden):
    """Return the text of a file as a sha256, without its decimal numbers, and these numbers, to four digits;
    of weights their names and mean sizes.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        weights = sorted(load_file(path).items())
        text = str([(name, tuple(weight.shape)) for name, weight in weights])
        numbers = [weight.abs().mean().item() for _, weight in weights]
    else:
        text = path.read_text(encoding="utf-8")
        for word in hidden:
            text = text.replace(word, "")
        numbers = [float(number) for number in NUMBER.findall(text)]
        text = NUMBER.sub("#", text)
    return {"text": sha256_text(text), "numbers": [round(number, 4) for number in numbers]}


def describe_runs(runs):
    """Return the outputs of runs, by file; fingerprints and sums of other files are hidden."""
    outputs = {}
    for number, run in enumerate(runs):
        inputs = run.manifest["inputs"].values()
        hidden = [*run.manifest["files"].values(), *(value for value in inputs if len(value) == 16)]
        for name in sorted(run.manifest["files"]):
            if Path(name).name not in LEFT_OUT:
                outputs[f"{number}/{name}"] = describe_file(run.file(name), hidden)
    return outputs


def agree(found, recorded):
    """Say whether outputs are equal, numbers to within what another processor may change."""
    return found.keys() == recorded.keys() and all(
        output["text"] == recorded[name]["text"]
        and output["numbers"] == pytest.approx(recorded[name]["numbers"], rel=2e-3, abs=2e-3)
        for name, output in found.items()
    )


def test_every_stage_has_recorded_outputs():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    named = {
        name for text in sources for name in re.findall(r'(?:run_stage|measure_pairs)\(\s*"(\w+)"', text)
    }
    assert named == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_outputs_change_only_with_the_version_of_the_stage(name, request):
    runs = getattr(Toys(request), name)()
    seeds = sha256_text("".join(sha256_file(path) for path in sorted(SEEDS.rglob("*.*"))))
    found = {"version": runs[0].manifest["version"], "seeds": seeds, "outputs": describe_runs(runs)}
    known = json.loads(RECORDED.read_text()) if RECORDED.is_file() else {}
    recorded = known.get(name, {"version": None, "seeds": None, "outputs": {}})
    is_same = agree(found["outputs"], recorded["outputs"])
    if found["version"] == recorded["version"] and is_same:
        return
    if found["version"] == recorded["version"] and found["seeds"] == recorded["seeds"]:
        pytest.fail(f"The outputs of stage {name!r} have changed. Raise its version, then: {COMMAND}")
    if not os.environ.get("STUDY_RECORD"):
        pytest.fail(f"The outputs of stage {name!r} are not recorded for this version. Run: {COMMAND}")
    RECORDED.write_text(json.dumps(known | {name: found}, indent=1, sort_keys=True) + "\n")
