"""A process that has imported the toolkit and forks a child for each run of a tool: a life takes a second, not five.

Started by lives.py. It takes orders on standard input, a line of JSON each, and answers each with a line. The child has
its own session, working directory, standard streams and arguments, Python's own signal handlers, and leaves through the
interpreter's usual end. It is killed at a moment of its life or before its nth change of the file system, as ordered.
"""

import importlib
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).parents[2] / "tools"
sys.path[:0] = [str(TOOLS), str(TOOLS.parent)]
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.utime"}
FORKS_WELL = {"jemalloc_bg_thd"}  # threads that know of forks: of Arrow's memory
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
HEAVY = (
    "faster_coco_eval",
    "hydra",
    "lightning.pytorch.loggers",
    "matplotlib.pyplot",
    "onnx",
    "scipy.io",
    "tensorboard.summary.writer.event_file_writer",
    "timm",
    "torch.utils.tensorboard",
    "torchvision",
    "tasks.classification.data",
    "tasks.dogs.data",
    "tasks.face_attributes.model",
    "tasks.shared.classification",
    "tasks.shared.commands.run",
    "tasks.shared.detection.data",
    "tasks.shared.training.train",
    "tasks.shared.faces.data",
    "tasks.shared.training.stages",
    "tasks.ssd",
)


def serve() -> dict[str, Any] | None:
    """Carry out orders until there are no more. Returns twice, as fork does: the order in a child, None at the end."""
    for line in sys.stdin:
        order = json.loads(line)
        begun = time.monotonic()
        pid = os.fork()
        if pid == 0:
            return order
        print(json.dumps({"pid": pid, **watch(pid, order, begun)}), flush=True)
    return None


def watch(pid: int, order: dict[str, Any], begun: float) -> dict[str, Any]:
    """Kill a child when it is time, and wait for its end. A child that outlives its limit tells where it hung."""
    kill_at, limit, sent, hung = order["kill_at"], order["limit"], False, False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        seconds = time.monotonic() - begun
        if ended:
            return {"status": os.waitstatus_to_exitcode(status), "seconds": seconds, "sent": sent, "hung": hung}
        if kill_at is not None and not sent and seconds >= kill_at:
            sent = True
            send(pid, order)
        if seconds > limit:
            if hung:
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGABRT)  # faulthandler prints every thread's stack
            hung, limit = True, limit + 5
        time.sleep(0.002)


def send(pid: int, order: dict[str, Any]) -> None:
    number = signal.Signals[order["signal"]]
    if order["whole_group"] and os.getpgid(pid) == pid:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


def be_born(order: dict[str, Any]) -> None:
    """Make this process look like one that a shell has started."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["cwd"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for theirs, ours in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(theirs, ours)
    import faulthandler

    faulthandler.enable(file=2)
    sys.argv = [str(TOOLS / f"{order['tool']}.py"), *order["arguments"]]
    if order["count_changes"] or order["kill_before"] is not None:
        sys.addaudithook(Changes(order))


class Changes:
    """Counts what a process is about to change below its working directory, and kills it before the nth change."""

    def __init__(self, order: dict[str, Any]):
        self.order, self.count, self.place = order, 0, os.path.realpath(order["cwd"])
        self.pid = os.getpid()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(arguments[0], str) or not (arguments[2] or 0) & WRITING:
                return
        elif event not in CHANGES:
            return
        path = str(arguments[0])
        if not os.path.abspath(path).startswith(self.place) or os.getpid() != self.pid:  # noqa: PTH100
            return
        self.count += 1
        if self.order["count_changes"]:
            os.write(1, f"[change {self.count}]\n".encode())
        if self.count == self.order["kill_before"]:
            os.write(1, f"\n[{self.order['signal']} before {event} of {path}]\n".encode())
            send(self.pid, self.order)


def main() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    print(json.dumps({"threads": sorted(set(names) - FORKS_WELL)}), flush=True)
    order = serve()
    if order is not None:
        be_born(order)
        runpy.run_path(sys.argv[0], run_name="__main__")


main()
