"""Run a checkpoint on images: draws the answers on them and writes predictions.json.

python tools/predict.py checkpoint=RUN input=photo.jpg
python tools/predict.py checkpoint=RUN input=/photos output=/answers
python tools/predict.py checkpoint=RUN 'input=/photos/*.png'
python tools/predict.py checkpoint=RUN input=a.jpg pair=b.jpg     task=facenet: whether both show one person
python tools/predict.py checkpoint=RUN input=film.mp4             with OpenCV installed; input=0 is the first camera
"""

from tasks.shared.commands.cli import run_tool
from tasks.shared.commands.run import predict

if __name__ == "__main__":
    run_tool("predict", __doc__, predict)
