"""A MobileNet classifier as an ONNX graph, for another runtime to be timed on."""

import copy
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from backbone import fold_batch_norm
from backbone.layers import Conv2d, ConvNormAct
from tasks.shared.classification.model import Classifier

OPSET = 17


def to_onnx(task: Classifier, resolution: int) -> ModelProto:
    """From `images` (N, 3, resolution, resolution) uint8 to `logits` (N, classes), batch norm folded, ReLU6 as Clip.

    task: in eval mode, of a MobileNet with symmetric padding; stays as it is.
    """
    task = copy.deepcopy(task).cpu()
    fold_batch_norm(task)
    weights: list[TensorProto] = []
    nodes: list[NodeProto] = []

    def name(tensor: Tensor) -> str:
        weights.append(numpy_helper.from_array(tensor.detach().numpy(), f"weight_{len(weights)}"))
        return weights[-1].name

    def add(operator: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"value_{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    x = add("Cast", ["images"], to=TensorProto.FLOAT)
    x = add("Div", [add("Sub", [x, name(task.normalize.mean)]), name(task.normalize.std)])
    low, high = (name(task.normalize.mean.new_tensor(limit)) for limit in (0.0, 6.0))
    for unit in task.backbone.modules():
        if isinstance(unit, ConvNormAct):
            conv = unit.conv
            assert isinstance(conv, Conv2d) and not conv.pad_by_size and conv.bias is not None
            pads, strides = 2 * list(conv.padding), list(conv.stride)
            inputs = [x, name(conv.weight), name(conv.bias)]
            x = add("Conv", inputs, group=conv.groups, pads=pads, strides=strides, kernel_shape=list(conv.kernel_size))
            x = add("Clip", [x, low, high])
    x = add("Flatten", [add("GlobalAveragePool", [x])])
    nodes.append(helper.make_node("Gemm", [x, name(task.head.weight), name(task.head.bias)], ["logits"], transB=1))

    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 3, resolution, resolution])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", task.head.out_features])
    graph = helper.make_graph(nodes, "mobilenet", [images], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model
