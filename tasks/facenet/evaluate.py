"""How well embeddings tell persons apart, and how near they are to a teacher's (Sec. 4.7, Table 14)."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tasks.facenet.draw import SHOWN, Shown, draw_mistakes, draw_roc
from tasks.facenet.embeddings import save_embeddings
from tasks.facenet.metrics import Roc, fold_accuracy, needed
from tasks.facenet.pair_sets import AllPairs, ListedPairs, PairSet
from tasks.facenet.pairs import Floats, Ints, Nearest
from tasks.shared.faces.dataset import FaceTarget
from tasks.shared.files.writing import write_image, write_rows
from tasks.shared.images.decode import to_pil
from tasks.shared.processes.gathering import gathered

log = logging.getLogger(__name__)


class FaceEvaluator:
    """Collects embeddings, as `tasks.shared.contract.Evaluator`, and the teacher's where targets have them.

    Args:
        far: the false accept rate at which VAL is told.
        convert: from a teacher's answers (N, D) to what the network learns, such as normalised.
        pairs, folds: (P, 3) and (P,) or None: listed pairs of images, by index, the third number 1 for one person;
            and the fold of each, for `accuracy`.
        all_pairs: VAL is of all pairs of images, by identity, though some are listed; it is where none are.
        image: the original image (3, H, W) uint8 of a target, to show which pairs are told wrong.
        file_format: of the embeddings' file, see `save_embeddings`.
    """

    def __init__(
        self,
        far: float,
        convert: Callable[[Tensor], Tensor],
        *,
        pairs: Ints | None = None,
        folds: Ints | None = None,
        all_pairs: bool = False,
        image: Callable[[Any], Tensor] | None = None,
        file_format: str = "npz",
    ):
        self.far, self.convert, self.image, self.file_format = far, convert, image, file_format
        self.pairs, self.folds, self.all_pairs = pairs, folds, all_pairs or pairs is None
        self.reset()

    def reset(self) -> None:
        self.indices: list[int] = []  # of the images in the data
        self.files: list[str] = []
        self.identities: list[int] = []  # as many as images, or none
        self.vectors: list[Floats] = []
        self.teacher: list[Floats] = []  # as many as images, or none
        self._rocs: dict[str, Roc] | None = None

    def update(self, results: Sequence[Any], targets: Sequence[FaceTarget]) -> None:
        """results: `vector` (D,); targets: `index`, `file`, and where they are known `identity` and `teacher` (D,)."""
        self._rocs = None
        for result, target in zip(results, targets, strict=True):
            self.indices.append(target["index"])
            self.files.append(target["file"])
            self.vectors.append(result.vector.numpy())
            if "identity" in target:
                self.identities.append(int(target["identity"]))
            if "teacher" in target:
                self.teacher.append(self.convert(target["teacher"].cpu()[None])[0].numpy())

    def gather(self) -> None:
        """Under DDP: every process gets the embeddings of all."""
        self._rocs = None
        self.indices, self.files, self.identities, self.vectors, self.teacher = gathered(
            self.indices, self.files, self.identities, self.vectors, self.teacher
        )

    def compute(self) -> dict[str, float]:
        """`val_at_far`, `threshold` (of squared distance), `auc` and `far`; of listed pairs with folds `accuracy` and
        its standard error `accuracy_error`. What persons must be known for is left out where they are not.

        With a teacher its own figures too, as `teacher_<figure>`; `share_of_teacher`, of its VAL; `cosine`, the mean
        between both networks' embeddings; and `squared_difference`, as the loss has it.
        """
        if not self.vectors:
            return {}
        networks, figures = self._networks(), {}
        if "teacher_" in networks:
            ours, theirs = (rows.astype(np.float64) for rows in networks.values())
            lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
            figures["cosine"] = float(((ours * theirs).sum(1) / np.maximum(lengths, 1e-12)).mean())
            figures["squared_difference"] = float(np.square(ours - theirs).sum(1).mean())
        for name, roc in self._make_rocs().items():
            val, threshold = roc.val_at_far(self.far)
            figures |= {f"{name}val_at_far": val, f"{name}auc": roc.auc(), f"{name}threshold": threshold}
            figures["far"] = self.far
        if figures.get("teacher_val_at_far"):
            figures["share_of_teacher"] = figures["val_at_far"] / figures["teacher_val_at_far"]
        if self.folds is not None:
            listed, kept = self._listed()
            for name, vectors in networks.items() if len(np.unique(self.folds[kept])) > 1 else ():
                accuracy, error = fold_accuracy(listed.distances(vectors), listed.shows_one, self.folds[kept])
                figures |= {f"{name}accuracy": accuracy, f"{name}accuracy_error": error}
        return figures

    def save(self, folder: Path) -> None:
        """embeddings.npz or .parquet; where persons are known roc.png, and mistakes.jpg where any are; of listed pairs
        pairs.csv."""
        networks = self._networks()
        vectors = {f"{name}embedding": rows for name, rows in networks.items()}
        save_embeddings(folder, self.file_format, [self.files[k] for k in self._order()], **vectors)
        (folder / "mistakes.jpg").unlink(missing_ok=True)  # of an earlier evaluation of a resumed run
        threshold = None
        if rocs := self._make_rocs():
            _, threshold = rocs[""].val_at_far(self.far)
            draw_roc({name.rstrip("_") or "network": roc for name, roc in rocs.items()}, self.far, folder / "roc.png")
            self._draw_mistakes(networks[""], threshold, folder / "mistakes.jpg")
        if self.pairs is not None:
            self._save_pairs(networks[""], threshold, folder / "pairs.csv")

    def _order(self) -> Ints:
        """Places of the images by their index: the same whatever process had which."""
        return np.argsort(np.array(self.indices, np.int64), kind="stable")

    def _networks(self) -> dict[str, Floats]:
        """Embeddings (N, D) in the order of the images: `""` for the network, `"teacher_"` for the teacher."""
        lists = {"": self.vectors} | ({"teacher_": self.teacher} if self.teacher else {})
        order = self._order()
        return {name: np.stack(rows)[order] for name, rows in lists.items()}

    def _make_rocs(self) -> dict[str, Roc]:
        """By the names of `_networks`; none where persons are not known, or too few images are here for this FAR."""
        if self._rocs is None:
            self._rocs, pairs = {}, self._pairs()
            if pairs is not None and pairs.same > 0 and pairs.different >= needed(self.far):
                self._rocs = {name: pairs.roc(vectors, self.far) for name, vectors in self._networks().items()}
            elif pairs is not None:
                log.warning("val_at_far is left out: the images that were looked at have %d pairs of one person and "
                            "%d of two, too few for task.far=%g", pairs.same, pairs.different, self.far)  # fmt: skip
        return self._rocs

    def _pairs(self) -> PairSet | None:
        if not self.all_pairs:
            return self._listed()[0]
        return AllPairs(np.array(self.identities, np.int64)[self._order()]) if self.identities else None

    def _listed(self) -> tuple[ListedPairs, np.ndarray]:
        """The listed pairs whose images are both here, and which of the list they are (P,), as bools."""
        assert self.pairs is not None
        indices = np.array(self.indices)[self._order()]
        row_of = np.full(max(indices.max(), self.pairs[:, :2].max()) + 1, -1)
        row_of[indices] = np.arange(len(indices))
        indices = row_of[self.pairs[:, :2]]
        kept = indices.min(axis=1) >= 0
        return ListedPairs(indices[kept], self.pairs[kept, 2] == 1), kept

    def _draw_mistakes(self, vectors: Floats, threshold: float, path: Path) -> None:
        pairs = self._pairs()
        if self.image is None or pairs is None:
            return
        different, same = pairs.doubtful(vectors, SHOWN)
        for_one = self._shown(different, different.distances < threshold)
        for_two = self._shown(same, same.distances >= threshold)
        if for_one or for_two:
            write_image(path, draw_mistakes(for_one, for_two, threshold), "output")

    def _shown(self, pairs: Nearest, wrong: np.ndarray) -> list[Shown]:
        assert self.image is not None
        indices, read = np.array(self.indices)[self._order()], self.image
        return [
            Shown(to_pil(read({"index": int(indices[a])})), to_pil(read({"index": int(indices[b])})), distance)
            for (a, b), distance in zip(pairs.images[wrong], pairs.distances[wrong].tolist(), strict=True)
        ]

    def _save_pairs(self, vectors: Floats, threshold: float | None, path: Path) -> None:
        pairs, kept = self._listed()
        files = [self.files[k] for k in self._order()]
        folds = [""] * len(pairs.indices) if self.folds is None else self.folds[kept].tolist()
        rows: list[list[Any]] = [["first", "second", "one_person", "fold", "distance", "taken_for_one"]]
        columns = (pairs.indices.tolist(), pairs.shows_one.tolist(), folds, pairs.distances(vectors).tolist())
        for (first, second), one, fold, distance in zip(*columns, strict=True):
            taken = "" if threshold is None else int(distance < threshold)
            rows.append([files[first], files[second], int(one), fold, f"{distance:.6f}", taken])
        write_rows(path, rows, "output")
