"""Films are films by their content, and name no other file that is then read."""

import os
from pathlib import Path

import numpy as np
import pytest

from tasks.shared.errors import UserError
from tasks.shared.images.limits import DEFAULT, set_max_megapixels
from tasks.shared.inference import video
from tasks.shared.inference.video import ALLOWED, OPTIONS, VIDEO_SUFFIXES, read_frames

cv2 = pytest.importorskip("cv2")
CODES = {".avi": "MJPG", ".webm": "VP80"}


def write_film(path: Path, frames: int = 3) -> None:
    code = cv2.VideoWriter_fourcc(*CODES.get(path.suffix, "mp4v"))
    writer = cv2.VideoWriter(str(path), code, 5, (64, 48))
    for level in range(frames):
        writer.write(np.full((48, 64, 3), 60 * level, np.uint8))
    writer.release()


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_each_kind_of_film_is_read(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(tmp_path / f"film{suffix}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(OPTIONS, "threads;1")
    for source in (f"film{suffix}", str(tmp_path / f"film{suffix}")):
        frames = list(read_frames(source))
        assert [name for name, _ in frames] == [f"{source}#{index}" for index in range(3)]
        assert [round(float(image.float().mean()) / 60) for _, image in frames] == [0, 1, 2]
    assert os.environ[OPTIONS] == "threads;1", "as the user has set it"


LISTS = {
    "concat": "ffconcat version 1.0\nfile secret.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>',
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_other_files_is_no_film(kind: str, tmp_path: Path) -> None:
    write_film(tmp_path / "secret.mp4")
    (tmp_path / "x.mp4").write_text(LISTS[kind])
    with pytest.raises(UserError, match=r"x\.mp4: is no film by its content; expected MP4"):
        next(read_frames(str(tmp_path / "x.mp4")))


def test_ffmpeg_itself_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first bytes say nothing: its list of files, that it opens without being told."""
    write_film(tmp_path / "secret.mp4")
    (tmp_path / "x.mp4").write_text(LISTS["concat"])
    assert cv2.VideoCapture(str(tmp_path / "x.mp4"), cv2.CAP_FFMPEG).isOpened(), "or this test tests nothing"
    monkeypatch.setattr(video, "_check_film", lambda path: None)
    with pytest.raises(UserError, match=r"x\.mp4: not a film that OpenCV's FFmpeg can read"):
        next(read_frames(str(tmp_path / "x.mp4")))
    assert "protocol_whitelist;file|" in ALLOWED and OPTIONS not in os.environ


def test_frames_have_the_limit_of_images(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4")
    set_max_megapixels(0.003)
    try:
        with pytest.raises(UserError, match=r"film\.mp4: is 0\.0 megapixels \(64 x 48\); more than max_megapixels"):
            next(read_frames(str(tmp_path / "film.mp4")))
    finally:
        set_max_megapixels(DEFAULT)
