"""Filters: each reason."""

import pytest

from helpers.synthesis.filters import find_fault, list_ngrams, read_benchmark_ngrams
from helpers.synthesis.parsing import ParsedTask


def task(
    instruction="List every drug in the note", input="Aspirin.", output="aspirin, 100 mg", is_complete=True
):
    return ParsedTask(4, instruction, input, output, is_complete)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (task(), None),
        (task(is_complete=False), "malformed"),
        (task("Summarize this"), "length"),
        (task("word " * 151), "length"),
        (task("Describe the X-ray image below"), "non-text task"),
        (task("Read the value off the graph"), "non-text task"),
        (task("Summarize the imaging report in graphic detail"), None),
        (task("Gather the four figures of the lipid panel"), None),
        (task("Explain how images of a scan are stored"), None),
        (task("Summarize the clinical picture in a sentence"), None),
        (task("Explain what makes a graph hard to read"), None),
        (task("Draw a simple diagram of the heart"), "non-text task"),
        (task("Given a photo of a rash, describe it"), "non-text task"),
        (task("Say what the chest X-ray images show"), "non-text task"),
        (task(input="aspirin 100 mg", output=" aspirin 100 mg\n"), "repeats input"),
        (task(input="hydroxyzine", output="hydrOXYzine"), None),
        (task(input="x=1;print x", output="x=1;print(x)"), None),
        (task(input="", output="rest"), None),
        (task(input="Reach me at jane.roe@example.org"), "personal data"),
        (task(output="SSN 123-45-6789"), "personal data"),
        (task(input="Mail jane@st-mary.org"), "personal data"),
        (task(input="Call 555-123-4567"), "personal data"),
        (task(input="Call +44 20 7946 0958"), "personal data"),
        (task(input="MRN#12345"), "personal data"),
        (task(input="Dose 10-20-30 mg, ratio 3-2022, 1.1.1.1"), None),
        (task(input="Date of birth: 04/10/1952"), "personal data"),
        (task(input="Seen on 04/10/2022 and 2022-05-01"), None),
        (task(input="DOB: 6 June 1952"), "personal data"),
        (task(input="1." * 40_000), None),
        (task(input="Blood pressure 120/80, see https://example.org"), None),
        (task(input="She has had a dry cough for three weeks and no fever."), "overlaps benchmark"),
        (task(input="A dry cough for three weeks, no fever."), None),
    ],
)
def test_each_task_falls_for_its_reason(given, reason):
    ngrams = frozenset(list_ngrams("The patient: she has had a dry cough for three weeks."))
    assert find_fault(given, 3, 150, ngrams) == reason


def test_a_benchmark_file_of_any_schema_gives_its_texts_but_not_its_labels(tmp_path):
    file = tmp_path / "benchmark.jsonl"
    file.write_text(
        '{"id": "a b c d e f g h", "deep": [{"text": "one two three four five six seven eight nine"}], "n": '
        "3}\n"
    )
    assert read_benchmark_ngrams([file]) == {
        "one two three four five six seven eight",
        "two three four five six seven eight nine",
    }
