"""Networks that are built to be counted: on the meta device, where they take no memory and nothing is computed."""

from backbone import Cost, count_cost
from tasks.shared.config.consent import asks_for
from tasks.shared.config.nodes import NetworkConfig
from tasks.shared.contract import Task
from tasks.shared.errors import UserError
from tasks.shared.network.build import build_task
from tasks.shared.network.planned import planned

MOST = 1 << 30  # weights that a network may begin with on the word of a file that holds none


def meta_network(config: NetworkConfig, num_classes: int) -> Task:
    """The network that a run's config describes."""
    with planned("the run's config"):
        return build_task(config.without_sources(), num_classes)


def network_cost(config: NetworkConfig, num_classes: int) -> Cost:
    """What the network that a run's config describes costs for one image."""
    return count_cost(meta_network(config, num_classes), config.resolution)


def check_new(config: NetworkConfig, num_classes: int) -> None:
    """Raise UserError for a network without weights that is too large to be begun on a file's word alone."""
    if asks_for("backbone"):
        return
    count = sum(each.numel() for each in meta_network(config, num_classes).state_dict().values())
    if count > MOST:
        raise UserError(
            f"the run's network has {count:,} weights; expected {MOST:,} at most of a run that has none yet"
        )
