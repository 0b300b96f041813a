"""Score a checkpoint on its own validation data, or on other data.

python tools/eval.py checkpoint=RUN/checkpoints/best.ckpt
python tools/eval.py checkpoint=RUN data=coco data.root=/data/coco
python tools/eval.py checkpoint=RUN task.evaluator=pycocotools
"""

from tasks.shared.commands.cli import run_tool
from tasks.shared.commands.run import evaluate

if __name__ == "__main__":
    run_tool("eval", __doc__, evaluate)
