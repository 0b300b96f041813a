"""The layers that MobileNet is made of: convolutions with SAME padding, batch norm and ReLU (Sec. 3.1, Fig. 3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.depthwise import Depthwise, has_kernel
from backbone.gradients import Pointwise, ReLU6, is_exported
from backbone.norm_act import applies, norm_act
from backbone.padding import Pads, convolve, same_padding

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": ReLU6}
WIDE = 128  # channels read by a pointwise convolution, from which on its gradients are faster as matrix products


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
        stride, pads = (self.stride[0], self.stride[1]), self.pads(x)
        if self.bias is None and _trains_on_cpu(x):
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
            bf16 = dtype == torch.bfloat16
            if self.groups == self.in_channels > 1 and (bf16 or has_kernel(x, self.weight, stride, pads)):
                return Depthwise.apply(x.to(dtype), self.weight.to(dtype), stride, pads)
            pointwise = self.kernel_size == stride == (1, 1) and self.groups == 1
            if bf16 and pointwise and self.in_channels >= WIDE and x.is_contiguous(memory_format=torch.channels_last):
                return Pointwise.apply(x.to(dtype), self.weight.to(dtype))
        if not self.pad_by_size:
            return super().forward(x)
        if x.device.type == "cpu" and not torch.is_grad_enabled() and not is_exported():
            return convolve(x, self.weight, self.bias, stride, pads, self.groups)
        (top, bottom), (left, right) = pads
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def pads(self, x: Tensor) -> Pads:
        """Zeros around x (B, C, H, W)."""
        if self.pad_by_size:
            rows, columns = zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
            return same_padding(*rows), same_padding(*columns)
        before = self.kernel_size[0] // 2
        return (before, before), (before, before)


def _trains_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_grad_enabled() and not is_exported()


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

    def forward(self, input: Tensor) -> Tensor:
        x = self.conv(input)
        if type(self.norm) is BatchNorm2d and applies(self.norm, self.act, x):
            return norm_act(self.norm, self.act, x)
        return self.act(self.norm(x))
