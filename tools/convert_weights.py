"""Make a run of published weights, for eval, predict and train; or a weight file of a run.

python tools/convert_weights.py source=mobilenet_v1_0.25_128_quant.tflite output=runs/google_0.25_128
python tools/convert_weights.py source=mobilenet_1_0_224_tf.h5 output=runs/keras
python tools/convert_weights.py source=timm:mobilenetv1_100.ra4_e3600_r224_in1k output=runs/timm
python tools/convert_weights.py task=ssd source=ssd_mobilenet_v1_coco.tflite output=runs/google_ssd
python tools/convert_weights.py source=NET.tflite output=RUN pictures=PHOTOS   to train all of it further
python tools/convert_weights.py source=RUN output=net.safetensors format=safetensors
"""

from tasks.shared.commands.cli import run_tool
from tasks.shared.commands.run import convert_weights

if __name__ == "__main__":
    run_tool("convert_weights", __doc__, convert_weights)
