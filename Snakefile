# The cells of the grid, each as a process of its own: on this machine, or on a cluster. Results lie in the same store as the notebooks'.
#
#   .venv/bin/study grid list --profile laptop -p n_seeds=5 --cell-list runs/grid.json
#   .venv/bin/snakemake --cores 2 --config cell_list=runs/grid.json
#
# The first command lists the cells and marks those that the store holds already. After a kill, the second one goes on.
# Slurm: .venv/bin/snakemake --profile profiles/slurm --config cell_list=runs/grid.json

import json
import sys
from pathlib import Path

STUDY = Path(sys.executable).with_name("study")
GRID = json.loads(Path(config.get("cell_list", "runs/grid.json")).read_text())
IDS = {cell["done"]: cell["id"] for cell in GRID["cells"]}


rule all:
    input:
        list(IDS),


rule cell:
    output:
        "{folder}/{cell}.done",
    params:
        study=STUDY,
        arguments=GRID["arguments"],
        id=lambda wildcards, output: IDS[output[0]],
    threads: 1  # Snakemake gives the number to PyTorch as OMP_NUM_THREADS; --set-threads cell=4 changes it
    shell:
        "{params.study:q} grid run {params.arguments:q} --cell {params.id:q} --done {output:q}"


onerror:
    print(
        "Some cells did not end: one that was cancelled, lost its node or ran out of time or memory says so in the log "
        "named above. Give more time or memory where it lacked (--default-resources runtime=240 mem_mb=32000) and run "
        "the same command again: what is done stays, and a cell goes on from its last checkpoint.",
        file=sys.stderr,
    )
