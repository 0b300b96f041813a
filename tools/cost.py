"""The paper's tables, our counts beside its figures with a verdict each; or what any network of this toolkit costs.

python tools/cost.py                                              Tables 1 to 14; table=6 or table=[6,7] for these
python tools/cost.py runs=runs                                    with the accuracies of your own runs
python tools/cost.py output=docs/results.md format=markdown       into a file; format=json for programs
python tools/cost.py check=true                                   status 1 where a figure is not as it is known to be
python tools/cost.py task=ssd backbone.alpha=0.5 resolution=300   one network, by layer, stage and kind of layer
python tools/cost.py experiment=table6_0.5                        a row of a table, as one network
python tools/cost.py task=classification budget.mult_adds=100e6   alpha and resolution under a budget, largest first

A network is described as for tools/train.py. All is counted on networks that are built for it, on torch's meta device.
"""

from tasks.shared.commands.cli import run_tool
from tasks.shared.paper.command import cost

if __name__ == "__main__":
    run_tool("cost", __doc__, cost)
