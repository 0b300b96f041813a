"""A run's config, that of configs/train.yaml and the groups it chooses from. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from tasks.shared.config.nodes import BnMomentum, NetworkConfig, Node
from tasks.shared.config.typed import Count, In, Megapixels, OneOf, typed
from tasks.shared.data.settings import DataNode
from tasks.shared.distillation.settings import TeacherConfig
from tasks.shared.network.settings import FreezeConfig, InitConfig

OPTIMIZERS = ("adamw", "sgd", "rmsprop", "adagrad")
SCHEDULES = ("cosine", "exponential", "step", "constant")
FromZero = Annotated[float, In(0)]
Batches = Annotated[float, In(above=0, what="a share or a number of batches")]


@dataclass(frozen=True)
class ScheduleConfig:
    """Arguments of `training.optim.make_schedule`."""

    schedule: Annotated[str, OneOf(SCHEDULES)]
    warmup_epochs: FromZero
    decay: FromZero
    decay_epochs: Annotated[float, In(above=0)]
    final: FromZero


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Arguments of `training.optim.make_optimizer`, and the schedule of its learning rate."""

    name: Annotated[str, OneOf(OPTIMIZERS)]
    lr: Annotated[float, In(above=0)]
    backbone_lr: Annotated[float, In(above=0, what="a share of optim.lr")] = 1.0
    weight_decay: FromZero
    options: dict[str, Any] | None
    schedule: ScheduleConfig


@dataclass(frozen=True)
class TrainerConfig:
    """What a run is trained on, and for how long. accelerator, devices and strategy are Lightning's."""

    accelerator: Any
    devices: Any
    strategy: Any
    precision: str | int
    channels_last: bool
    compile: bool
    max_epochs: Count
    val_every_epochs: Count
    gradient_clip_norm: Annotated[float | None, In(0)]
    ema_decay: Annotated[float | None, In(0, below=1)]
    bn_momentum: BnMomentum
    limit_train_batches: Batches
    limit_val_batches: Batches


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that a run is made of; what its checkpoints and its config.yaml carry.

    stages: the runs before it, by name. output: of a stage that is kept for later runs, its folder.
    """

    resolution: Count
    seed: Annotated[int, In(0)]
    init: InitConfig
    stages: dict[str, "RunConfig"] = field(default_factory=dict)
    freeze: FreezeConfig
    backbone: Node
    optim: OptimConfig
    trainer: TrainerConfig
    data: DataNode | None
    teacher: TeacherConfig
    task: Node
    output: str | None = field(default=None, metadata={"left_out_as": None})

    @property
    def network(self) -> NetworkConfig:
        return NetworkConfig(self.task, self.backbone, self.resolution, self.trainer.bn_momentum)

    @property
    def root(self) -> Any:
        """The folder of its data, where these have one."""
        return None if self.data is None else self.data.root

    @property
    def data_name(self) -> str | None:
        return None if self.data is None else self.data.name


@dataclass(frozen=True)
class TrainConfig:
    """The keys of configs/train.yaml that are the command's and none of a run's.

    stages: of each the settings, as on the command line.
    """

    output: str | None
    resume: str | None
    max_megapixels: Megapixels
    stages: dict[str, list[Any] | None] | None


@dataclass(frozen=True)
class EvalConfig:
    """configs/eval.yaml"""

    checkpoint: str
    output: str | None
    max_megapixels: Megapixels


def run_of(config: Mapping[str, Any], source: str = "") -> RunConfig:
    """A run's config of plain data, with those of its stages that are composed.

    source: the file that carries it, if one does. Raises UserError as `typed` does.
    """
    own = {key: value for key, value in config.items() if key not in ("resume", "max_megapixels")}
    return typed(RunConfig, own, source)
