"""What an exported program may call: ATen's operators on tensors, and arithmetic on sizes."""

import operator
from collections.abc import Callable
from typing import Any

import torch

# By name, with all their overloads; of those that end in _ the form that changes its input as well. None of them reads
# or writes files, draws at random (in evaluation), or hands out memory that nothing has been written to.
ATEN = {
    "abs", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "add",
    "addbmm", "addcdiv", "addcmul", "addmm", "alias", "all", "amax", "amin", "any", "arange", "argmax", "argmin",
    "atan2", "avg_pool1d", "avg_pool2d", "baddbmm", "batch_norm", "bitwise_and", "bitwise_not", "bitwise_or",
    "bitwise_xor", "bmm", "broadcast_to", "cat", "ceil", "celu", "channel_shuffle", "chunk", "clamp", "clamp_max",
    "clamp_min", "clone", "concat", "constant_pad_nd", "contiguous", "conv1d", "conv2d", "convolution", "copy", "cos",
    "cumsum", "detach", "diagonal", "div", "dropout", "einsum", "elu", "embedding", "eq", "erf", "exp", "expand",
    "expand_as", "expm1", "feature_dropout", "fill", "flatten", "flip", "floor", "floor_divide", "full", "full_like",
    "gather", "ge", "gelu", "glu", "group_norm", "gt", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "im2col",
    "index", "index_put", "index_select", "instance_norm", "layer_norm", "le", "leaky_relu", "lift_fresh_copy",
    "linalg_vector_norm", "linear", "linspace", "log", "log10", "log1p", "log2", "log_sigmoid", "log_softmax",
    "_log_softmax", "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "lt", "masked_fill", "matmul",
    "max", "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "maximum", "mean", "meshgrid", "min", "minimum",
    "mish", "mm", "movedim", "mul", "narrow", "_native_batch_norm_legit_no_training", "native_group_norm",
    "native_layer_norm", "ne", "neg", "new_full", "new_ones", "new_zeros", "norm", "numel", "ones", "ones_like",
    "pad", "permute", "pixel_shuffle", "pixel_unshuffle", "pow", "prelu", "prod", "reciprocal", "reflection_pad2d",
    "relu", "relu6", "remainder", "repeat", "repeat_interleave", "replication_pad2d", "reshape", "reshape_as",
    "rms_norm", "roll", "round", "rsqrt", "rsub", "scalar_tensor", "scaled_dot_product_attention", "scatter",
    "select", "selu", "sigmoid", "sign", "silu", "sin", "slice", "_softmax", "softmax", "softplus", "softshrink",
    "split", "split_with_sizes", "sqrt", "square", "squeeze", "stack", "std", "sub", "sum", "swapaxes", "sym_numel",
    "sym_size", "sym_stride", "tan", "tanh", "tensor_split", "tile", "to", "_to_copy", "topk", "transpose", "tril",
    "triu", "trunc", "type_as", "unbind", "unflatten", "unfold", "_unsafe_view", "unsqueeze", "upsample_bicubic2d",
    "_upsample_bicubic2d_aa", "upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_nearest2d", "var",
    "var_mean", "view", "view_as", "_weight_norm", "where", "zeros", "zeros_like",
}  # fmt: skip
PYTHON = ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")  # of operator


def operator_of(target: str) -> Callable[..., Any] | None:
    """What a file calls `target`, such as torch.ops.aten.conv2d.default; None for what is not allowed."""
    match target.split("."):
        case ["torch", "ops", "aten", name, overload] if {name, name.removesuffix("_")} & ATEN:
            function = getattr(getattr(torch.ops.aten, name, None), overload, None)
            return function if isinstance(function, torch._ops.OpOverload) else None
        case ["_operator", name] if name in PYTHON:
            return getattr(operator, name)
    return None
