"""Which accuracies of finished runs stand beside which rows."""

import logging
from pathlib import Path

from backbone import LayerCost
from tasks.shared.errors import UserError
from tasks.shared.files.folders import CONFIG, METRICS
from tasks.shared.network.meta import network_cost
from tasks.shared.paper.counting import Counter
from tasks.shared.paper.rows import Preset, Row, Table
from tasks.shared.paper.sheets import Found
from tasks.shared.records.runs import Run, find_runs

log = logging.getLogger(__name__)
SAMPLE = "_sample"  # how the names of drawn data sets end


class Accuracies:
    """The finished runs below `folder`; what was trained on drawn samples, and stages of other runs, are left out.

    A run belongs to a row when it is of the row's task and resolution, and its network has the same layers at the same
    cost: alpha, resolution, block and the like, but not how it was trained. Its data are not looked at, but told.
    """

    def __init__(self, folder: Path, counter: Counter):
        self.folder, self.counter = folder, counter
        self._counted: dict[tuple[Path, int], tuple[LayerCost, ...]] = {}
        every = find_runs(folder, None)
        self.tasks = {run.network.task.name for run in every}
        self.runs = [run for run in every if _is_real(run)]
        log.info("%d runs below %s; %d left out, which are on drawn samples or stages of others",
                 len(every), folder, len(every) - len(self.runs))  # fmt: skip

    def of(self, row: Row, table: Table) -> tuple[Found, ...]:
        """Raises UserError for a metric that is no share."""
        metric = row.metric or table.metric
        if not row.accuracy or not isinstance(row.network, Preset):
            return ()
        return tuple(
            Found(100 * _share(run, metric), str(run.data_name), str(run.path.relative_to(self.folder)))
            for run in self.runs
            if metric in run.metrics
            and (table.condition is None or run.metrics.get(table.condition[0]) == table.condition[1])
            and self._same(run, row.network)
        )

    def _same(self, run: Run, preset: Preset) -> bool:
        config = self.counter.config(preset)
        if (run.network.task.name, run.network.resolution) != (config.task.name, config.resolution):
            return False
        return self._layers(run, preset.num_classes) == self.counter.cost(preset).layers

    def _layers(self, run: Run, num_classes: int) -> tuple[LayerCost, ...]:
        """Counted once, as a run is held against many rows."""
        if (run.path, num_classes) not in self._counted:
            try:
                self._counted[run.path, num_classes] = network_cost(run.network, num_classes).layers
            except UserError as error:
                raise UserError(f"{run.path / CONFIG}: {error}") from error
        return self._counted[run.path, num_classes]


def _is_real(run: Run) -> bool:
    return not str(run.data_name).endswith(SAMPLE) and run.path.parent.name != "stages"


def _share(run: Run, metric: str) -> float:
    value = run.metrics[metric]
    if not 0 <= value <= 1:
        raise UserError(f"{run.path / METRICS}: {metric}={value}; expected a share of 0 to 1")
    return value
