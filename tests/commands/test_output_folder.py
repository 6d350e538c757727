"""The folder that a command writes for its user."""

import pytest

from helpers.commands.output_folder import fill_folder
from helpers.errors import StudyError


@pytest.mark.parametrize("is_there", [False, True])
def test_what_is_written_moves_into_the_output_and_nothing_stays_beside_it(tmp_path, is_there):
    folder = tmp_path / "out"
    if is_there:
        folder.mkdir()
    with fill_folder(folder) as part:
        (part / "deep").mkdir()
        (part / "deep" / "file").write_text("a")
        assert not (folder.exists() and any(folder.iterdir()))
    assert (folder / "deep" / "file").read_text() == "a"
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
