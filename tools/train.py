"""Train a task.

python tools/train.py task=ssd backbone.alpha=1.0                 on a sample data set that it draws itself
python tools/train.py task=ssd data=coco data.root=/data/coco     on COCO; a GPU is used where there is one
python tools/train.py -m task=ssd backbone.alpha=1,0.5            a run for each value
python tools/train.py resume=runs/ssd/2026-01-31_12-00-00         go on with a stopped run
"""

from tasks.shared.commands.cli import run_tool
from tasks.shared.commands.run import train

if __name__ == "__main__":
    run_tool("train", __doc__, train)
