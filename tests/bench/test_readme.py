"""The speeds that the README quotes are those of the stored benchmarks."""

import json

from helpers.paths import RESULTS, ROOT


def test_the_readme_quotes_the_stored_benchmarks():
    measured = {path.stem: json.loads(path.read_text()) for path in (RESULTS / "bench").glob("*.json")}
    ratios = {name: one["ratio"] for name, one in measured.items() if "ratio" in one}
    million = {
        name: by_n["1000000"] for name, by_n in measured["novelty_pairs"].items() if name.endswith("by_n")
    }
    endurance = measured["endurance"]
    written = (ROOT / "README.md").read_text(encoding="utf-8").split("## Measured")[1]
    quoted = (
        f"needs {ratios['novelty_pairs']:,.0f} times less CPU time",
        f"in {million['cpu_seconds_by_n']:.0f} CPU seconds and {million['mib_by_n']:.0f} MiB",
        f"keeps {100 * ratios['client_requests']:.0f} % of 32 slots busy",
        f"come {ratios['text_items']:.1f} times as fast",
        f"by letter {ratios['letter_items']:.1f} times",
        f"{ratios['generation_prompts']:.2f} to {ratios['generation_prompts_32']:.2f} times as fast",
        f"tuning is {ratios['tuning_trl']:.1f} times as fast",
        f"reaches {100 * ratios['tuning_matmul']:.0f} % of",
        f"take {1 / ratios['two_runs']:.2f} of the time",
        f"{endurance['n']:,} rows through a faulty provider, killed {endurance['n_kills']} times",
    )
    assert [words for words in quoted if words not in written] == []
    assert endurance["identical"]
