"""Values of the wrong kind or size, for every task: one message that names the key, and no run's folder."""

from pathlib import Path

import pytest

from tests.tools.conftest import Tool

TASKS = ("ssd", "classification", "faster_rcnn")
FREE_OF_TASKS = [
    (["seed=x"], "seed=x; expected a whole number from 0"),
    (["seed=1.5"], "seed=1.5; expected a whole number from 0"),
    (["resolution=true"], "resolution=true; expected a whole number from 1"),
    (["resolution=null"], "resolution=null; expected a whole number from 1"),
    (["init=null"], "init=null; expected the keys below it to be set, init.method, init.run"),
    (["freeze=null"], "freeze=null; expected the keys below it to be set, freeze.up_to"),
    (["freeze.batch_norm=7"], "freeze.batch_norm=7; expected true or false"),
    (["optim.schedule=null"], "optim.schedule=null; expected the keys below it to be set"),
    (["optim.options=x"], "optim.options=x; expected the keys below it to be set"),
    (["optim.options.typo=1"], "optim.options: adamw has no typo; it takes amsgrad, betas"),
    (["optim.lr=fast"], "optim.lr=fast; expected a number"),
    (["optim.lr=-1"], "optim.lr=-1; expected a number above 0"),
    (["optim.lr=inf"], "optim.lr=inf; expected a number above 0"),
    (["trainer.max_epochs=1.5"], "trainer.max_epochs=1.5; expected a whole number from 1"),
    (["trainer.accelerator=x"], "trainer.accelerator='x'; expected one of auto, cpu"),
    (["trainer.gradient_clip_norm=-1"], "trainer.gradient_clip_norm=-1; expected a number from 0"),
    (["data.root=FILE/x"], "/file is a file; expected a folder"),
    (["output=FILE/x"], "/file is a file; expected a folder"),
    (["seed='${oc.env:NO_SUCH_VARIABLE}'"], "NO_SUCH_VARIABLE"),
    (["init.head=new"], "init.head=new: there are no weights to start from; give init.run"),
    (["freeze.up_to=conv_5"], "freeze.up_to=conv_5: there are no weights to start from; give init.run"),
    (["data=coco_json", "data.train=null", "data.val.images=.", "data.val.annotations=FILE"], "data.train is not set"),
]
EVERY_TASK = [
    (["data.batch_size=8.5"], "data.batch_size=8.5; expected a whole number from 1"),
    (["data.val_batch_size=0"], "data.val_batch_size=0; expected a whole number from 1"),
    (["data.batch_size=x"], "data.batch_size=x; expected a number"),
    (["data.workers=-1"], "data.workers=-1; expected a whole number from 0"),
    (["backbone.alpha=0"], "backbone.alpha=0; expected a width multiplier above 0"),
    (["backbone.alpha=x"], "backbone.alpha=x; expected a number"),
    (["backbone.alpha=null"], "backbone.alpha=null; expected a number"),
    (["backbone.bn_eps=-1"], "backbone.bn_eps=-1; expected a number above 0"),
    (["resolution=-3"], "resolution=-3; expected a whole number from 1"),
    (["resolution=8"], "resolution=8"),
]
OF_A_TASK = [
    ("ssd", ["task.postprocess.total=0"], "task.postprocess.total=0; expected a whole number from 1"),
    ("ssd", ["task.postprocess=x"], "task.postprocess=x; expected the keys below it to be set"),
    ("ssd", ["task.loss.negatives_per_positive=null"], "task.loss.negatives_per_positive=null; expected a number"),
    ("ssd", ["task.loss.mining_nms=x"], "task.loss.mining_nms='x'; expected a number above 0"),
    ("ssd", ["task.loss.min_negatives=-1"], "task.loss.min_negatives=-1"),
    ("ssd", ["task.anchors.min_scale=-1"], "task.anchors.min_scale=-1"),
    ("ssd", ["task.min_score=x"], "task.min_score=x; expected a number"),
    ("ssd", ["data.train=0"], "data.train=0; expected a whole number from 1"),
    ("faster_rcnn", ["task.proposals=x"], "task.proposals=x; expected a number"),
    ("faster_rcnn", ["task.anchors.ratios=[x]"], "task.anchors.ratios=['x']; expected numbers above 0"),
    ("faster_rcnn", ["task.localization_weight=-1"], "task.localization_weight=-1; expected a number from 0"),
    ("faster_rcnn", ["task.postprocess.iou_threshold=7"], "task.postprocess.iou_threshold=7; expected a number from 0"),
]  # fmt: skip
CASES = [
    *(("ssd", *case) for case in FREE_OF_TASKS),
    *((task, *case) for case in EVERY_TASK for task in TASKS),
    *OF_A_TASK,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where samples are drawn, once, and a file lies."""
    folder = tmp_path_factory.mktemp("values")
    (folder / "file").write_text("")
    return folder


@pytest.mark.parametrize(
    ("task", "arguments", "expected"), CASES, ids=[f"{task} {' '.join(a)}" for task, a, _ in CASES]
)
def test_wrong_values(task: str, arguments: list[str], expected: str, folder: Path, tool: Tool, tmp_path: Path) -> None:
    sample = {"data.train": "2", "data.val": "1", "data.root": f"{folder}/{task}", "output": f"{tmp_path}/run"}
    given = {argument.split("=")[0] for argument in arguments}
    kept = [f"{key}={value}" for key, value in sample.items() if key not in given and "data" not in given]
    answer = tool("train", f"task={task}", *kept, *(a.replace("FILE", f"{folder}/file") for a in arguments))
    assert answer.status == 1
    assert expected in answer.message, answer.message
    assert "Traceback" not in answer.message + answer.out and not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", ["optim.options.eps=1e-3", "optim.options={eps: 0.001}", "+optim.options.eps=1e-3"])
def test_options_that_no_yaml_lists_can_be_set(options: str, tool: Tool) -> None:
    answer = tool("train", "--cfg", "job", "task=ssd", options)
    assert answer.status == 0 and "eps: 0.001" in answer.out, answer


@pytest.mark.parametrize("value", ["-1", "0", "x", "1.5", "null"])
def test_predict_wants_a_whole_batch(value: str, tiny_run: Path, tool: Tool, tmp_path: Path) -> None:
    arguments = [f"checkpoint={tiny_run}", f"input={tiny_run.parent}/sample/val", f"output={tmp_path}/out"]
    answer = tool("predict", *arguments, f"batch_size={value}")
    assert answer.status == 1 and f"batch_size={value}; expected a whole number from 1" in answer.message, answer
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("eval", "trainer.accelerator=x", "trainer.accelerator='x'"),
        ("eval", "data.val_batch_size=2.5", "data.val_batch_size=2.5; expected a whole number from 1"),
        ("eval", "task.min_score=x", "task.min_score=x; expected a number"),
        ("eval", "output=FILE/x", "/file is a file"),
        ("predict", "output=FILE/x", "/file is a file"),
    ],
)
def test_wrong_values_for_a_checkpoint(
    name: str, argument: str, expected: str, tiny_run: Path, folder: Path, tool: Tool, tmp_path: Path
) -> None:
    output = [] if argument.startswith("output") else [f"output={tmp_path}/out"]
    more = [f"input={tiny_run.parent}/sample/val"] if name == "predict" else []
    answer = tool(name, f"checkpoint={tiny_run}", *output, *more, argument.replace("FILE", f"{folder}/file"))
    assert answer.status == 1 and expected in answer.message, answer
    assert not (tmp_path / "out").exists()
