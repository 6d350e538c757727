"""What memory is free, inside of limits too."""

import psutil
import pytest

from helpers import machine

MIB = 2**20


def write_group(folder, kind, limit, used, cache):
    folder.mkdir(parents=True, exist_ok=True)
    limit_file, used_file, start = machine.GROUP_FILES[kind]
    (folder / limit_file).write_text(f"{limit}\n")
    (folder / used_file).write_text(f"{used}\n")
    stat = {"anon": 5, f"{start}inactive_file": cache // 2, f"{start}active_file": cache - cache // 2}
    (folder / "memory.stat").write_text("".join(f"{name} {value}\n" for name, value in stat.items()))


@pytest.mark.parametrize(
    ("kind", "line"), [("", "0::/slurm/job_7"), ("memory", "4:memory:/slurm/job_7\n0::/slurm")]
)
@pytest.mark.parametrize(
    ("limits", "free"),
    [
        ([(9 * MIB, 5 * MIB, 2 * MIB), (99 * MIB, 0, 0)], 6 * MIB),
        ([("max", 1, 0), (7 * MIB, 6 * MIB, 0)], MIB),
    ],
)
def test_free_memory_is_what_the_tightest_group_leaves(tmp_path, monkeypatch, kind, line, limits, free):
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "GROUP_FOLDER", tmp_path / "fs")
    (tmp_path / "cgroup").write_text(f"{line}\n")
    for folder, limit in zip(("slurm/job_7", "slurm"), limits, strict=True):
        write_group(tmp_path / "fs" / kind / folder, kind, *limit)
    assert machine.measure_main_memory() == free
    write_group(tmp_path / "fs" / kind, kind, 0, 0, 0)  # the group of all others
    assert machine.measure_main_memory() == 0


@pytest.mark.parametrize("lines", [None, "", "0::/\n", "9:name=systemd:/\n4:memory:/nowhere\n"])
def test_without_a_limit_free_memory_is_the_systems(tmp_path, monkeypatch, lines):
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "GROUP_FOLDER", tmp_path / "fs")
    if lines is not None:
        (tmp_path / "cgroup").write_text(lines)
    assert machine.measure_main_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.1)
