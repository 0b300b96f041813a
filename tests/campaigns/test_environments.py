"""The tools where little may be written: as another user than root, in places that are closed, under a strict umask.

Each environment trains, evaluates and predicts on the tiny sample, in processes of their own, with code that they
cannot write to. What they answer is what the ordinary run answers, to the byte, and nothing is left but what was asked
for.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tasks.shared.folders import contents
from tests.tools.conftest import TINY

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOBODY = 65534
LEFT = {"sample", "run", "scores", "answers"}
COMMANDS = {
    "train": (*TINY, "data.root=WORK/sample", "output=WORK/run"),
    "eval": ("checkpoint=WORK/run", "data.root=WORK/sample", "output=WORK/scores"),
    "predict": ("checkpoint=WORK/run", "input=WORK/sample/val", "output=WORK/answers"),
}
ENVIRONMENTS: dict[str, dict[str, str | None]] = {  # None: not set
    "another user, code that is closed": {},
    "no HOME": {"HOME": None},
    "closed HOME": {"HOME": "CLOSED"},
    "HOME that is not there": {"HOME": "CLOSED/nowhere"},
    "closed TMPDIR": {"TMPDIR": "CLOSED"},
    "TMPDIR that is not there": {"TMPDIR": "CLOSED/nowhere"},
    "closed HOME, TMPDIR and caches": dict.fromkeys(
        ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TORCH_HOME", "TRITON_CACHE_DIR"),
        "CLOSED",
    ),
}


class Place(NamedTuple):
    """code: the toolkit. closed: a folder that nobody may write to. as_user: what a command begins with."""

    code: Path
    closed: Path
    as_user: tuple[str, ...]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    base = tmp_path_factory.mktemp("environments")
    as_user = unprivileged()
    for name in ("backbone", "tasks", "tools", "configs"):
        shutil.copytree(ROOT / name, base / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (base / "closed").mkdir()
    folders = [base / "closed", base / "code", *(f for f in (base / "code").rglob("*") if f.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    before = sorted(base.rglob("*"))
    yield Place(base / "code", base / "closed", as_user)
    after = sorted(base.rglob("*"))
    for folder in folders:
        folder.chmod(0o755)
    assert after == before, "nothing was written beside the code, nor where all is closed"


def unprivileged() -> tuple[str, ...]:
    """What starts a command as a user whom permissions bind: who runs the tests, or of root's nobody.

    To whom the interpreter may be hidden: where it can be given, nobody has the capability to read everything.
    """
    if os.geteuid() != 0:
        return ()
    user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    reads = "-all,+dac_read_search"
    capable = (*user, f"--inh-caps={reads}", f"--ambient-caps={reads}", f"--bounding-set={reads}")
    if shutil.which("setpriv"):
        for start in (capable, user):
            if subprocess.run([*start, sys.executable, "-c", "import yaml"], capture_output=True).returncode == 0:
                return start
    pytest.skip("root cannot become another user here who may run this Python")


def use(
    place: Place,
    work: Path,
    tool: str,
    changed: dict[str, str | None],
    *,
    arguments: Sequence[str] = (),
    umask: int = 0o022,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a tool with `changed` variables and its usual arguments, or others."""
    arguments = [argument.replace("WORK", str(work)) for argument in arguments or COMMANDS[tool]]
    given = {name: value.replace("CLOSED", str(place.closed)) for name, value in changed.items() if value is not None}
    kept = {name: value for name, value in os.environ.items() if name not in {*changed, "PYTHONDONTWRITEBYTECODE"}}
    command = [*place.as_user, sys.executable, str(place.code / "tools" / f"{tool}.py"), *arguments]
    return subprocess.run(
        command, env=kept | given | {"PYTHONPATH": str(place.code)}, cwd=cwd or work, umask=umask,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def own(folder: Path) -> Path:
    """Make a folder for the user that commands run as."""
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return folder


def answers(work: Path) -> dict[str, bytes]:
    files = ("run/metrics.json", "run/detections.json", "scores/metrics.json", "answers/predictions.json")
    return {name: (work / name).read_bytes().replace(str(work).encode(), b"WORK") for name in files}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What who runs the tests has made."""
    work = tmp_path_factory.mktemp("usual")
    for tool in COMMANDS:
        done = use(Place(ROOT, work, ()), work, tool, {})
        assert done.returncode == 0, done.stderr
    return work


@pytest.fixture(scope="module")
def usual(theirs: Path) -> dict[str, bytes]:
    return answers(theirs)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_tools_work_in(name: str, place: Place, usual: dict[str, bytes], tmp_path: Path) -> None:
    work = own(tmp_path / "work")
    for tool in COMMANDS:
        done = use(place, work, tool, ENVIRONMENTS[name])
        assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:] + done.stderr
    assert answers(work) == usual
    assert {entry.name for entry in work.iterdir()} == LEFT


def test_the_working_directory_may_be_closed(place: Place, usual: dict[str, bytes], tmp_path: Path) -> None:
    """As long as all places are given; of those that are not, a line tells."""
    work = own(tmp_path / "work")
    for tool in COMMANDS:
        done = use(place, work, tool, {}, cwd=place.closed)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:] + done.stderr
    assert answers(work) == usual
    command = [*place.as_user, sys.executable, str(place.code / "tools/train.py"), *TINY]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(place.code)}, cwd=place.closed, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: output=runs/ssd/") and "cannot be written" in done.stderr


def test_files_are_as_private_as_the_umask_says(place: Place, usual: dict[str, bytes], tmp_path: Path) -> None:
    work = own(tmp_path / "work")
    for tool in COMMANDS:
        done = use(place, work, tool, {}, umask=0o077)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:] + done.stderr
    assert answers(work) == usual
    for entry in work.rglob("*"):
        assert entry.stat().st_mode & 0o777 == (0o700 if entry.is_dir() else 0o600), entry


def test_what_others_own_need_only_be_readable(
    place: Place, theirs: Path, usual: dict[str, bytes], tmp_path: Path
) -> None:
    """A run, its data, images to answer for; nothing in there changes."""
    work, before = own(tmp_path / "work"), contents(theirs)
    for folder in (theirs, *(f for f in theirs.rglob("*") if f.is_dir())):
        folder.chmod(0o555)
    for tool, arguments in COMMANDS.items():
        for key in ("data.root", "checkpoint", "input"):
            arguments = tuple(a.replace("WORK", str(theirs)) if a.startswith(f"{key}=") else a for a in arguments)
        done = use(place, work, tool, {}, arguments=arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:] + done.stderr
    for folder in (theirs, *(f for f in theirs.rglob("*") if f.is_dir())):
        folder.chmod(0o755)
    assert contents(theirs) == before
    changed = {name: text.replace(str(theirs).encode(), b"WORK") for name, text in answers(work).items()}
    assert changed == usual


CLOSED_SYSTEM = """
mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp && mount --bind /tmp /var/tmp &&
mount -t tmpfs -o mode=777 none "$WORK" && cd / || exit 77
"$@"
status=$?
cat "$WORK/run/config.yaml" >/dev/null || exit 78
exit $status
"""


def test_no_folder_for_temporary_files_at_all(place: Place, tmp_path: Path) -> None:
    """Torch and matplotlib need one. In a mount namespace of its own, where /tmp is closed."""
    if not place.as_user or not shutil.which("unshare"):
        pytest.skip("only root can close /tmp, for one process")
    work = own(tmp_path / "work")
    inner = [*place.as_user, sys.executable, str(place.code / "tools/train.py")]
    arguments = [argument.replace("WORK", str(work)) for argument in COMMANDS["train"]]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", CLOSED_SYSTEM, "sh", *inner, *arguments],
        env=os.environ | {"PYTHONPATH": str(place.code), "HOME": "/tmp", "WORK": str(work)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("nothing can be mounted here")
    told = "error: there is no folder for temporary files that can be written; set TMPDIR to one"
    assert done.returncode == 1 and done.stderr.startswith(told) and done.stderr.count("\n") == 1, done.stderr
