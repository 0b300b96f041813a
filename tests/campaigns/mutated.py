"""Gives mutated files to every reader, each in a process of its own, and judges what becomes of it.

    python tests/campaigns/mutated.py COUNT SEED [READER ...]

A line of JSON for each reader: how many inputs were read, refused, and what was found, with how to repeat it. In a file
of its own, as pytest's process has threads, which a fork would lose.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # a thread of a pool would be lost in a fork

SECONDS = 10  # of processor time that a reader may take, and of waiting
PATIENCE = 4  # how much longer it may take where others use the machine
ADDRESSES = 4 << 30  # bytes of address space beyond what there is, so that no bomb takes the machine along
LONGEST = 1000  # characters of a message


def campaign(name: str, reader: Any, count: int, seed: int, chosen: int | None = None) -> dict[str, Any]:
    """`count` mutated inputs of one reader, or of those the one of number `chosen`."""
    from tests.campaigns.mutations import mutate

    counts: Counter[str] = Counter()
    findings, slowest, largest = [], 0.0, 0
    with tempfile.TemporaryDirectory() as place:
        sound, work = Path(place) / "sound", Path(place) / "work"
        sound.mkdir()
        os.chdir(sound)
        reader.draw(sound)
        files = sorted(file for pattern in reader.files for file in sound.glob(pattern) if file.is_file())
        shutil.copytree(sound, work)
        os.chdir(work)
        reader.read()  # a sound input is read; and what is imported for it is not counted as a mutated one's memory
        for number in range(count) if chosen is None else [chosen]:
            dice = random.Random(f"{seed} {name} {number}")
            os.chdir(place)
            shutil.rmtree(work)
            shutil.copytree(sound, work)
            file = work / dice.choice(files).relative_to(sound)
            told = mutate(file, dice)
            before = _names(work)
            os.chdir(work)
            result = _apart(reader.read)
            wrong = judge(result, reader, file, _names(work) - before)
            counts["wrong" if wrong else result["kind"]] += 1
            slowest, largest = max(slowest, result["cpu"]), max(largest, result["memory"])
            if chosen is not None:
                print(told, json.dumps(result, indent=1), file=sys.stderr)
            if wrong:
                findings.append(f"{name}, seed {seed}, number {number}: {file.relative_to(work)}: {told}: {wrong}")
        os.chdir("/")
    return {"reader": name, **counts, "seconds": round(slowest, 2), "MB": largest, "findings": findings}


def judge(result: dict[str, Any], reader: Any, file: Path, made: set[str]) -> str | None:
    """What is wrong with what a reader did, if anything."""
    from tasks.shared.commands.cli import TOLD, text_of
    from tasks.shared.errors import UserError

    if result["kind"] == "died":
        return f"the process died of {result['signal']}"
    if result["kind"] == "hung" or result["cpu"] > SECONDS:
        return f"does not end ({result['cpu']:.1f} s of processor time)\n{result.get('trace', '')}"
    if reader.memory is not None and result["memory"] > reader.memory:
        return f"took {result['memory']} MB"
    if left := [name for name in made if "/.part" in f"/{name}" or name.endswith(".part")]:
        return f"left {left}"
    if result["kind"] == "read":
        return None
    if result["path"] is not None and result["errno"] in TOLD:
        return None  # such as a name in a list that is too long for a file: the tools tell it in one line
    message = text_of(UserError(result["message"]))
    if result["type"] not in ("tasks.shared.errors.UserError", "builtins.ValueError"):
        return f"{result['type']}: {message[:200]}\n{result['trace']}"
    if left := [name for name in made if not name.startswith(("cache/", "data/"))]:
        return f"left {left} and said {message[:200]}"
    if len(message) > LONGEST or message.count("\n") > 2 or "weights_only" in message:
        return f"says too much: {message[:600]}"
    named = file.name in message or file.stem in message or (not reader.named and ("=" in message or "/" in message))
    return None if named else f"does not name the file: {message[:300]}"


def _names(work: Path) -> set[str]:
    return {str(file.relative_to(work)) for file in work.rglob("*") if not file.is_dir()}


def _apart(read: Any) -> dict[str, Any]:
    """Read in a forked child."""
    taking, giving = os.pipe()
    begun, child = time.monotonic(), os.fork()
    if child == 0:
        os.close(taking)
        _answer(read, giving)
    os.close(giving)
    text, killed = b"", False
    os.set_blocking(taking, False)
    while True:
        with suppress(BlockingIOError):
            text += os.read(taking, 1 << 20)
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            break
        waited = time.monotonic() - begun
        if not killed and waited > SECONDS * (0.5 if _idle(child) else PATIENCE):
            killed = True
            os.kill(child, signal.SIGABRT)  # faulthandler tells where
        if waited > SECONDS * PATIENCE + 5:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    while part := os.read(taking, 1 << 20):
        text += part
    os.close(taking)
    cpu = used.ru_utime + used.ru_stime
    if killed or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return {"kind": "hung", "cpu": cpu, "memory": 0, "trace": Path("../stacks").read_text()[:1500]}
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status)).name
        return {"kind": "died", "signal": number, "cpu": cpu, "memory": 0}
    return {"cpu": cpu, **json.loads(text)}


def _idle(process: int) -> bool:
    """Whether it waits for something, and has hardly computed."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return fields[0] == "S" and sum(map(int, fields[11:13])) < os.sysconf("SC_CLK_TCK") * SECONDS // 2


def _answer(read: Any, pipe: int) -> None:
    """Read, and tell of it: in the child."""
    import faulthandler
    import warnings

    stacks = os.open("../stacks", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    faulthandler.enable(stacks)
    for number in (1, 2):
        os.dup2(stacks, number)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS * 2, SECONDS * 2 + 5))
    limit = _kb("VmSize") * 1024 + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = _kb("VmRSS")
    answer: dict[str, Any] = {"kind": "read"}
    try:
        read()
    except BaseException as error:
        kind = type(error)
        trace = traceback.format_exc().splitlines()[-14:]
        answer = {"kind": "refused", "type": f"{kind.__module__}.{kind.__name__}", "message": str(error)[:20000]}
        answer |= {"errno": getattr(error, "errno", None), "path": getattr(error, "filename", None)}
        answer["trace"] = "\n".join(f"      {line}" for line in trace)
    answer["memory"] = max(_kb("VmHWM") - before, 0) // 1024
    data = json.dumps(answer).encode()
    while data:
        data = data[os.write(pipe, data) :]
    os._exit(0)


def _kb(what: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0])


def main(count: int, seed: int, names: list[str], chosen: int | None = None) -> None:
    from tests.campaigns import readers, readers_of_weights

    known = readers.READERS | readers_of_weights.READERS
    for name in names or known:
        child = os.fork()  # what one reader imports is not there for the next
        if child == 0:
            failed = 1
            try:
                print(json.dumps(campaign(name, known[name], count, seed, chosen)), flush=True)
                failed = 0
            except BaseException:
                traceback.print_exc()
            os._exit(failed)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"reader": name, "findings": [f"{name}: the campaign itself failed"]}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    which = os.environ.get("NUMBER")
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:], None if which is None else int(which))
