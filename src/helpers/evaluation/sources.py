"""Where the items of the public sets come from: hub ids, files of the public release, licences. Nothing of
them is stored in this project.

Ids and addresses were read from the sets' pages and papers; they change more often than code, so they
stand in this one table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from helpers.evaluation import converters
from helpers.evaluation.converters import Items, RawRow

_MTS = "https://raw.githubusercontent.com/abachaa/MTS-Dialog/main/Main-Dataset/MTS-Dialog-"
_MACCROBAT = "hf://datasets/singh-aditya/MACCROBAT_biomedical_ner/MACCROBAT2020-V2.json"
Convert = Callable[[RawRow], Items]


@dataclass(frozen=True)
class Source:
    """A public set.

    Attributes:
        licence: as its publishers state it.
        url: page of the public release.
        convert: a row of the hub, or of a file of the same columns, to items in the embedded format.
        hub: arguments of `datasets.load_dataset`; empty where the hub has no copy that loads without foreign
            code.
        splits: the hub's split for each of ours ('test', and 'train' where a demonstration is shown).
        files: names of files that hold the rows of each of our splits, in the folder that `data` names or one
            below.
        convert_file: converter of a file whose columns differ from the hub's, by its name.
    """

    licence: str
    url: str
    convert: Convert
    hub: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=lambda: {"test": "test"})
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    convert_file: Mapping[str, Convert] = field(default_factory=dict)


SOURCES: dict[str, Source] = {
    "medqa": Source(
        licence="CC BY-SA 4.0 (hub copy), MIT (release)",
        url="https://github.com/jind11/MedQA",
        convert=converters.convert_medqa,
        hub={"path": "GBaker/MedQA-USMLE-4-options-hf"},
        files={"test": ("phrases_no_exclude_test.jsonl", "medqa.jsonl")},
    ),
    "medmcqa": Source(
        licence="MIT (release), Apache-2.0 (hub copy)",
        url="https://github.com/medmcqa/medmcqa",
        convert=converters.convert_medmcqa,
        hub={"path": "openlifescienceai/medmcqa"},
        splits={"test": "validation"},
        files={"test": ("dev.json", "medmcqa.jsonl")},
        convert_file={"dev.json": converters.convert_medmcqa_release},
    ),
    "pubmedqa": Source(
        licence="MIT",
        url="https://github.com/pubmedqa/pubmedqa",
        convert=converters.convert_pubmedqa,
        hub={"path": "qiaojin/PubMedQA", "name": "pqa_labeled"},
        splits={"test": "train"},
        files={"test": ("ori_pqal.json", "pubmedqa_pqal.jsonl")},
    ),
    "ncbi_disease": Source(
        licence="public domain (US Government work)",
        url="https://github.com/spyysalo/ncbi-disease",
        convert=converters.convert_ncbi_disease,
        hub={"path": "ncbi/ncbi_disease", "revision": "refs/convert/parquet"},
        splits={"test": "test", "train": "train"},
        files={
            "test": ("test.tsv", "ncbi_disease_test.jsonl"),
            "train": ("train.tsv", "ncbi_disease_train.jsonl"),
        },
    ),
    "maccrobat_medications": Source(
        licence="CC BY 4.0",
        url="https://doi.org/10.6084/m9.figshare.9764942",
        convert=converters.convert_maccrobat,
        hub={"path": "json", "data_files": _MACCROBAT, "field": "data"},
        splits={"test": "train"},
        files={"test": ("maccrobat2020.jsonl", "*.ann")},
    ),
    "craft_pronouns": Source(
        licence="CC BY 3.0",
        url="https://github.com/UCDenver-ccp/CRAFT",
        convert=converters.convert_craft,
        files={"test": ("craft_pronoun_antecedent.jsonl",)},
    ),
    "mts_dialog": Source(
        licence="CC BY 4.0",
        url="https://github.com/abachaa/MTS-Dialog",
        convert=converters.convert_mts_dialog,
        hub={
            "path": "csv",
            "data_files": {
                "test": f"{_MTS}TestSet-1-MEDIQA-Chat-2023.csv",
                "train": f"{_MTS}TrainingSet.csv",
            },
        },
        splits={"test": "test", "train": "train"},
        files={
            "test": ("MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv", "mts_dialog_test1_mediqa_chat_taskA.jsonl"),
            "train": ("MTS-Dialog-TrainingSet.csv", "mts_dialog_train.jsonl"),
        },
    ),
    "icliniq": Source(
        licence="none stated",
        url="https://huggingface.co/datasets/lavita/ChatDoctor-iCliniq",
        convert=converters.convert_icliniq,
        hub={"path": "lavita/ChatDoctor-iCliniq"},
        splits={"test": "train"},
        files={"test": ("iCliniq.json",)},
    ),
    "medquad": Source(
        licence="CC BY 4.0",
        url="https://github.com/abachaa/MedQuAD",
        convert=converters.convert_medquad,
        hub={"path": "lavita/MedQuAD"},
        splits={"test": "train"},
        files={"test": ("medquad_2000.jsonl",)},
    ),
}

SOURCES["ncbi_disease_all"] = replace(
    SOURCES["ncbi_disease"], convert=partial(converters.convert_ncbi_disease, keep_all=True)
)

# of the paper's tables; where a copy has pickled weights alone, convert it to safetensors first
MODELS_OF_OTHER_GROUPS = (
    "xz97/AlpaCare-llama1-7b",
    "xz97/AlpaCare-llama2-7b",
    "starmpcc/Asclepius-7B",
    "zl111/ChatDoctor",
    "medalpaca/medalpaca-7b",
    "chaoyi-wu/PMC_LLAMA_7B",
)
