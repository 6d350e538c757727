"""The folder that a command writes for its user."""

import stat

import pytest

from helpers.commands.output_folder import fill_folder
from helpers.errors import StudyError


@pytest.mark.parametrize("kind", ["new", "empty", "working"])
def test_what_is_written_moves_into_the_output_and_nothing_stays_beside_it(tmp_path, monkeypatch, kind):
    folder = tmp_path / "out"
    if kind != "new":
        folder.mkdir()
        folder.chmod(0o2770)
    if kind == "working":
        monkeypatch.chdir(folder)
    with fill_folder(folder) as part:
        (part / "deep").mkdir()
        (part / "deep" / "file").write_text("a")
        assert not (folder / "deep").exists()
    assert (folder / "deep" / "file").read_text() == "a"
    assert list(tmp_path.iterdir()) == [folder]
    assert kind == "new" or stat.S_IMODE(folder.stat().st_mode) == 0o2770


def test_of_two_that_fill_one_output_the_second_to_end_is_refused(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(StudyError, match="holds something"), fill_folder(folder) as later:
        (later / "file").write_text("later")
        with fill_folder(folder) as sooner:
            (sooner / "file").write_text("sooner")
    assert (folder / "file").read_text() == "sooner"
    assert list(tmp_path.iterdir()) == [folder]


def test_what_another_program_wrote_meanwhile_is_not_written_over(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(StudyError, match="holds something"), fill_folder(folder) as part:
        (part / "file").write_text("ours")
        folder.mkdir()
        (folder / "file").write_text("theirs")
    assert (folder / "file").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [folder]


def test_an_error_leaves_no_output(tmp_path):
    with pytest.raises(ZeroDivisionError), fill_folder(tmp_path / "new" / "out") as part:
        (part / "file").write_text("a")
        1 / 0  # noqa: B018
    assert list((tmp_path / "new").iterdir()) == []


def test_a_loop_of_links_is_one_message(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StudyError, match="cannot be read or written"), fill_folder(tmp_path / "loop" / "out"):
        pass
