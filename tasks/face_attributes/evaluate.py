"""Average precision by attribute, and how near a student is to its teacher (Sec. 4.5, Table 12)."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tasks.face_attributes.draw import draw_precisions
from tasks.face_attributes.metrics import Bools, Floats, agreement, average_precisions, emulation, mean_of_known
from tasks.shared.faces.dataset import FaceTarget
from tasks.shared.files.writing import write_rows
from tasks.shared.processes.gathering import gathered

TEACHER = "teacher_"  # before the name of a figure of the teacher's


class AttributeEvaluator:
    """Collects logits and labels of each image, as `tasks.shared.contract.Evaluator`, and the teacher's logits where
    targets have them.

    names: of the attributes, in the order of outputs and labels.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.reset()

    def reset(self) -> None:
        self.indices: list[int] = []  # of the images in the data
        self.files: list[str] = []
        self.logits: list[Floats] = []
        self.truth: list[Bools] = []  # as many as images, or none
        self.teacher: list[Floats] = []  # as many as images, or none

    def update(self, results: Sequence[Any], targets: Sequence[FaceTarget]) -> None:
        """results: `logits` (A,); targets: `index`, `file`, and `attributes` (A,) and `teacher` (A,) where known."""
        for result, target in zip(results, targets, strict=True):
            self.indices.append(target["index"])
            self.files.append(target["file"])
            self.logits.append(result.logits.numpy())
            if "attributes" in target:
                self.truth.append(target["attributes"].numpy() > 0.5)
            if "teacher" in target:
                self.teacher.append(target["teacher"].cpu().numpy())

    def gather(self) -> None:
        """Under DDP: every process gets the answers of all."""
        self.indices, self.files, self.logits, self.truth, self.teacher = gathered(
            self.indices, self.files, self.logits, self.truth, self.teacher
        )

    def compute(self) -> dict[str, float]:
        """`mean_ap`, over the attributes that any image has, `attributes_left_out`, the number of the others, and
        `accuracy`, the share of right decisions at probability 0.5; these of labelled images.

        With a teacher `agreement`, the share of decisions that both make alike, `emulation` (footnote 2: cross-entropy
        against the teacher's probabilities, lower is better), the teacher's own figures as `teacher_<figure>`, and
        `share_of_teacher`, of its mean AP.
        """
        if not self.files:
            return {}
        networks, figures = self._networks(), {}
        if TEACHER in networks:
            figures["agreement"] = float(agreement(*networks.values()).mean())
            figures["emulation"] = float(emulation(*networks.values()).mean())
        for name, logits in networks.items() if self.truth else ():
            precisions = average_precisions(logits, np.stack(self.truth))
            if (mean := mean_of_known(precisions)) is not None:
                figures[f"{name}mean_ap"] = mean
            figures[f"{name}accuracy"] = float(self._right(logits).mean())
            figures["attributes_left_out"] = float(precisions.count(None))
        if figures.get("teacher_mean_ap"):
            figures["share_of_teacher"] = figures["mean_ap"] / figures["teacher_mean_ap"]
        return figures

    def save(self, folder: Path) -> None:
        """attributes.csv, predictions.csv with the probability of each attribute, and of labels attributes.png."""
        networks = self._networks()
        columns: dict[str, list[Any]] = {"attribute": self.names}
        if self.truth:
            truth = np.stack(self.truth)
            columns["positives"] = truth.sum(0).tolist()
            for name, logits in networks.items():
                columns[f"{name}ap"] = average_precisions(logits, truth)
                columns[f"{name}accuracy"] = self._right(logits).mean(0).tolist()
            draw_precisions(self.names, columns["ap"], columns.get("teacher_ap"), folder / "attributes.png")
        if TEACHER in networks:
            columns["agreement"] = agreement(*networks.values()).tolist()
            columns["emulation"] = emulation(*networks.values()).tolist()
        cells = ([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))
        write_rows(folder / "attributes.csv", chain([columns], cells), "output")
        predictions = (
            [name, *(f"{p:.4f}" for p in 0.5 * (1 + np.tanh(logits / 2)))]
            for name, logits in zip(self.files, self.logits, strict=True)
        )
        write_rows(folder / "predictions.csv", chain([["file", *self.names]], predictions), "output")

    def _networks(self) -> dict[str, Floats]:
        """Logits (N, A): `""` for the network, `"teacher_"` for the teacher."""
        lists = {"": self.logits} | ({TEACHER: self.teacher} if self.teacher else {})
        return {name: np.stack(rows) for name, rows in lists.items()}

    def _right(self, logits: Floats) -> Bools:
        """(N, A): which decisions at probability 0.5 are right."""
        return (logits > 0) == np.stack(self.truth)


def _cell(value: Any) -> Any:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else value
