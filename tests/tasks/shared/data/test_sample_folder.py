"""A drawn set is whole or not there, and nobody's files are deleted for it."""

import json
from pathlib import Path

import pytest

from tasks.shared.data.sample_folder import MARKER, keep_sample
from tasks.shared.errors import UserError

FILES = {"lists/*.csv": 1, "pictures/*/*.jpg": 3}


def wanted(**changes) -> dict:
    return {"format": "drawn test sample", "version": 1, "seed": 0} | changes


def draw(folder: Path, content: str = "first") -> None:
    for name in ("lists/all.csv", "pictures/a/1.jpg", "pictures/a/2.jpg", "pictures/b/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def draw_again(folder: Path) -> None:
    draw(folder, "second")


def never(folder: Path) -> None:
    pytest.fail("drawn")


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "above" / "sample"
    keep_sample(folder, wanted(), FILES, draw)
    return folder


def test_draws_the_files_and_the_marker(root: Path) -> None:
    found = contents(root)
    assert json.loads(found.pop(MARKER)) == wanted()
    assert len(found) == 4 and set(found.values()) == {"first"}
    assert list(root.parent.iterdir()) == [root]


def test_a_whole_set_is_left_alone(root: Path) -> None:
    keep_sample(root, wanted(), FILES, never)
    keep_sample(Path(str(root)) / ".." / "sample", wanted(), FILES, never)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    keep_sample(tmp_path, wanted(), FILES, draw)
    assert len(contents(tmp_path)) == 5


@pytest.mark.parametrize("change", [{"seed": 1}, {"version": 2}, {"more": [1]}])
def test_other_parameters_replace_the_set(root: Path, change: dict) -> None:
    keep_sample(root, wanted(**change), FILES, draw_again)
    found = contents(root)
    assert json.loads(found.pop(MARKER)) == wanted(**change)
    assert set(found.values()) == {"second"}


@pytest.mark.parametrize("lost", [MARKER, "lists/all.csv", "pictures/b/1.jpg"])
def test_an_incomplete_set_is_drawn_again_if_it_is_known_to_be_ours(root: Path, lost: str) -> None:
    (root / lost).unlink()
    before = contents(root)
    if lost == MARKER:
        with pytest.raises(UserError, match="drawn test sample"):
            keep_sample(root, wanted(), FILES, never)
        assert contents(root) == before
    else:
        keep_sample(root, wanted(), FILES, draw_again)
        assert set(contents(root).values()) == {"second", json.dumps(wanted())}


@pytest.mark.parametrize("name", ["notes.txt", "pictures/mine.jpg", "pictures/a/b/1.jpg", "lists/all.txt", ".hidden"])
def test_foreign_files_are_refused_by_name(root: Path, name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("mine")
    before = contents(root)
    with pytest.raises(UserError, match=Path(name).name):
        keep_sample(root, wanted(seed=1), FILES, never)
    assert contents(root) == before


@pytest.mark.parametrize("name", ["pictures/c", "pictures/a/3.jpg", "lists"])
def test_links_are_foreign(name: str, root: Path, tmp_path: Path) -> None:
    """A set that is replaced holds none: what they lead to is somebody's."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/1.jpg").write_text("mine")
    if (root / name).exists():
        (root / name).rename(tmp_path / "lists")
        (root / name).symlink_to(tmp_path / "lists")
    else:
        (root / name).symlink_to(tmp_path / ("mine/1.jpg" if name.endswith("jpg") else "mine"))
    with pytest.raises(UserError, match=Path(name).name):
        keep_sample(root, wanted(seed=1), FILES, never)
    assert (tmp_path / "mine/1.jpg").read_text() == "mine"


@pytest.mark.parametrize("marker", ["", "{}", "[1]", '{"format": "drawn other sample"}'])
def test_another_markers_folder_is_refused(root: Path, marker: str) -> None:
    (root / MARKER).write_text(marker)
    with pytest.raises(UserError, match="drawn test sample"):
        keep_sample(root, wanted(), FILES, never)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sample").write_text("mine")
    with pytest.raises(UserError, match="sample"):
        keep_sample(tmp_path / "sample", wanted(), FILES, never)
    assert contents(tmp_path) == {"sample": "mine"}


def test_an_interrupted_drawing_leaves_what_was_there(root: Path) -> None:
    def interrupted(folder: Path) -> None:
        draw(folder, "half")
        raise KeyboardInterrupt

    before = contents(root.parent)
    for folder in (root, root.parent / "new"):
        with pytest.raises(KeyboardInterrupt):
            keep_sample(folder, wanted(seed=1), FILES, interrupted)
    assert contents(root.parent) == before
    assert list(root.parent.iterdir()) == [root]


def test_the_set_of_a_faster_process_is_kept(tmp_path: Path) -> None:
    def slow(folder: Path) -> None:
        keep_sample(tmp_path / "sample", wanted(), FILES, draw)
        draw_again(folder)

    keep_sample(tmp_path / "sample", wanted(), FILES, slow)
    assert "first" in contents(tmp_path / "sample").values()
    assert list(tmp_path.iterdir()) == [tmp_path / "sample"]


def test_of_two_that_come_to_their_end_at_once_both_have_the_set(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One looks whether another was faster, which then is, before the first moves its own set there."""
    place, rename = tmp_path / "sample", Path.rename

    def late(self: Path, target: Path) -> Path:
        if target == place and self.name == "made" and not place.exists():
            monkeypatch.setattr(Path, "rename", rename)
            keep_sample(place, wanted(), FILES, draw)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    keep_sample(place, wanted(), FILES, draw_again)
    assert set(contents(place).values()) == {"first", json.dumps(wanted())}
    assert {each.name for each in tmp_path.iterdir()} == {"sample", "above"}
