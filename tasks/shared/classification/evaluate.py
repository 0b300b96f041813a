"""Top-1 and top-5 accuracy, and which classes are taken for which."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tasks.shared.classification.confused import draw_confused
from tasks.shared.data.image_set import ClassTarget
from tasks.shared.errors import UserError
from tasks.shared.files.writing import save_figure, write_image, write_rows
from tasks.shared.processes.gathering import gathered
from tasks.shared.terminal.escaped import in_diagram

WORST = 15  # classes that the image shows


class TopKEvaluator:
    """Collects the best five classes of each image, as `tasks.shared.contract.Evaluator`.

    Args:
        data_ids: class ids of the data's labels.
        class_ids, class_names: what the network's outputs mean. Each of the data's classes must be among them; those
            that the data does not have are answers as wrong as any other.
        image: the original image (3, H, W) uint8 of a target, to show what was confused; None shows nothing.
    """

    def __init__(
        self,
        data_ids: Sequence[str],
        class_ids: Sequence[str],
        class_names: Sequence[str],
        image: Callable[[Any], Tensor] | None = None,
    ):
        index = {name: label for label, name in enumerate(class_ids)}
        if unknown := [name for name in data_ids if name not in index]:
            raise UserError(
                f"{len(unknown)} of the data's {len(data_ids)} classes are not among the {len(class_ids)} that the "
                f"network knows: {', '.join(unknown[:5])}; it knows {', '.join(class_ids[:5])} ..."
            )
        self.network_label = [index[name] for name in data_ids]
        self.class_ids, self.class_names, self.image = list(class_ids), list(class_names), image
        self.reset()

    def reset(self) -> None:
        self.files: list[str] = []
        self.indices: list[int] = []  # of the images in the data
        self.truth: list[int] = []
        self.found: list[list[int]] = []  # an image's classes, best first

    def update(self, results: Sequence[Any], targets: Sequence[ClassTarget]) -> None:
        """results: `labels` (K,) best first; targets: `label`, `index` and `file`."""
        for result, target in zip(results, targets, strict=True):
            self.files.append(target["file"])
            self.indices.append(target["index"])
            self.truth.append(self.network_label[target["label"]])
            self.found.append(result.labels.tolist())

    def gather(self) -> None:
        """Under DDP: every process gets the answers of all."""
        self.indices, self.files, self.truth, self.found = gathered(self.indices, self.files, self.truth, self.found)

    def compute(self) -> dict[str, float]:
        """`top1`, `top5` (where there are more than five classes) and `class_mean`, the mean of the classes' top-1."""
        if not self.truth:
            return {}
        truth, found = np.array(self.truth), np.array(self.found)
        right = found == truth[:, None]
        figures = {"top1": float(right[:, 0].mean())}
        if len(self.class_ids) > 5:
            figures["top5"] = float(right.any(1).mean())
        figures["class_mean"] = float(np.mean([right[truth == label, 0].mean() for label in np.unique(truth)]))
        return figures

    def save(self, folder: Path) -> None:
        """predictions.csv, classes.csv (the worst class first), confusion.png, and confused.jpg where anything is."""
        head = ["file", "class", *(f"answer_{k + 1}" for k in range(len(self.found[0])))]
        predictions = (
            [name, self.class_ids[label], *(self.class_ids[k] for k in found)]
            for name, label, found in zip(self.files, self.truth, self.found, strict=True)
        )
        write_rows(folder / "predictions.csv", chain([head], predictions), "output")
        ranking = self.ranking()
        rows: list[list[Any]] = [["class", "name", "pictures", "top1", "mostly_taken_for", "taken_share"]]
        for label, count, share, other, taken in ranking:
            name, other_id = self.class_names[label], self.class_ids[other] if taken else ""
            rows.append([self.class_ids[label], name, count, f"{share:.4f}", other_id, f"{taken:.4f}"])
        write_rows(folder / "classes.csv", rows, "output")
        self._draw_confusion([row[0] for row in ranking[:WORST]], folder / "confusion.png")
        (folder / "confused.jpg").unlink(missing_ok=True)  # of an earlier evaluation of a resumed run
        if self.image is not None:
            truth, best, read = np.array(self.truth), np.array(self.found)[:, 0], self.image
            sheet = draw_confused(truth, best, self.class_names, lambda k: read({"index": self.indices[k]}))
            if sheet is not None:
                write_image(folder / "confused.jpg", sheet, "output")

    def ranking(self) -> list[tuple[int, int, float, int, float]]:
        """Label, images, top-1, the class it is mostly taken for and how often; the worst first."""
        truth, best = np.array(self.truth), np.array(self.found)[:, 0]
        rows = []
        for label in np.unique(truth):
            predictions = np.bincount(best[truth == label], minlength=len(self.class_ids))
            count, right = int(predictions.sum()), int(predictions[label])
            predictions[label] = 0
            other = int(predictions.argmax())
            rows.append((int(label), count, right / count, other, int(predictions[other]) / count))
        return sorted(rows, key=lambda row: (row[2], row[0]))

    def _draw_confusion(self, labels: list[int], path: Path) -> None:
        """What images of these classes were taken for: rows are classes, columns answers."""
        from matplotlib.figure import Figure

        truth, best = np.array(self.truth), np.array(self.found)[:, 0]
        shares = np.array([[(best[truth == row] == column).mean() for column in labels] for row in labels])
        others = 1 - shares.sum(1, keepdims=True)
        shares = np.concatenate([shares, others], axis=1)
        side = 3.2 + 0.42 * len(labels)
        figure = Figure(figsize=(side + 0.6, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        names = [in_diagram(self.class_names[number][:18]) for number in labels]
        axes.set_xticks(range(len(labels) + 1), [*names, "(others)"], rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), names)
        axes.set(xlabel="answer", ylabel="truth", title=f"The {len(labels)} classes with the lowest top-1, in %")
        for row, column in zip(*np.nonzero(shares > 0.005), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", color=color, size=8)
        save_figure(path, figure, "output", dpi=110)
