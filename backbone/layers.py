"""The layers that MobileNet is made of: convolutions with SAME padding, batch norm and ReLU (Sec. 3.1, Fig. 3)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: (before, after), so that the output has ceil(size / stride) steps.

    The odd pixel goes behind: a 3x3 kernel of stride 2 pads (0, 1) on an even size and (1, 1) on an odd one.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Conv2d(nn.Conv2d):
    """A convolution whose padding is `"same"` (at every size) or `"symmetric"` (kernel // 2).

    Without bias, until `fold_batch_norm` gives it one.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, padding: str = "same"):
        if padding not in ("same", "symmetric"):
            raise ValueError(f"backbone.padding={padding!r}; expected 'same' or 'symmetric'")
        # At stride 1 SAME is symmetric, and the convolution itself pads; only strided SAME depends on the size.
        self.pad_by_size = padding == "same" and stride > 1
        fixed = 0 if self.pad_by_size else kernel // 2
        super().__init__(inputs, outputs, kernel, stride, fixed, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.pad_by_size:
            top, bottom = same_padding(x.shape[-2], self.kernel_size[0], self.stride[0])
            left, right = same_padding(x.shape[-1], self.kernel_size[1], self.stride[1])
            x = F.pad(x, (left, right, top, bottom))
        strided_depthwise = self.groups == self.in_channels > 1 and self.stride[0] > 1
        if strided_depthwise and self.bias is None and x.device.type == "cpu":
            return _strided_depthwise_on_cpu(self, x)
        return super().forward(x)


def _strided_depthwise_on_cpu(conv: Conv2d, x: Tensor) -> Tensor:
    weight = conv.weight
    if torch.is_autocast_enabled("cpu"):
        x, weight = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, weight))
    if x.dtype != torch.bfloat16:
        return F.conv2d(x, weight, None, conv.stride, conv.padding, 1, conv.groups)
    return _StridedDepthwise.apply(x, weight, conv.stride, conv.padding)


class _StridedDepthwise(torch.autograd.Function):
    """A strided depthwise convolution whose input gradient is computed in fp32.

    On the CPU in bf16 that one gradient falls back to a kernel 19 times slower than the fp32 one (277 ms
    against 15 for 64 channels at 112x112), and it alone would cost more than the rest of the step gains.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (grad,) = grads
        x, weight = ctx.saved_tensors

        def gradients(grad: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool]) -> list[Tensor | None]:
            return torch.ops.aten.convolution_backward(
                grad, x, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), x.shape[1], (*wanted, False)
            )

        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            shaped = torch.empty_like(x, dtype=torch.float32)  # of x this gradient depends on the shape alone
            grad_x = gradients(grad.float(), shaped, weight.float(), (True, False))[0]
            grad_x = None if grad_x is None else grad_x.to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = gradients(grad, x, weight, (False, True))[1]
        return grad_x, grad_weight, None, None


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that trains on a single value a channel too.

    A 1x1 map in a batch of one has no variance to normalise by (torch raises there): the running
    statistics are used for it, and are left as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(input)


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm, activation: the unit that MobileNet repeats (Fig. 3).

    `activation` is `"relu"` or `"relu6"`. Arguments of the convolution as in `Conv2d`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        *,
        padding: str = "same",
        activation: str = "relu6",
        bn_eps: float = 1e-3,
        bn_momentum: float = 3e-4,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(f"backbone.activation={activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        if not bn_eps > 0:
            raise ValueError(f"backbone.bn_eps={bn_eps}; expected a number above 0")
        if not 0 <= bn_momentum <= 1:
            raise ValueError(f"backbone.bn_momentum={bn_momentum}; expected a number from 0 to 1")
        super().__init__()
        self.conv = Conv2d(inputs, outputs, kernel, stride, groups, padding)
        self.norm = BatchNorm2d(outputs, eps=bn_eps, momentum=bn_momentum)
        self.act = ACTIVATIONS[activation](inplace=True)
        # TF-slim's mobilenet_v1: truncated at two standard deviations.
        nn.init.trunc_normal_(self.conv.weight, std=0.09, a=-0.18, b=0.18)
