"""Batch normalization over the batches of all processes, on GPUs and (unlike torch's own) on CPUs."""

import torch
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(TorchSyncBatchNorm):
    """Lightning plugin: during distributed training, batch norms use the statistics of all processes together."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the batch norms: by torch's on a GPU, else by `_Shared`."""
        if next(model.parameters()).device.type == "cuda":
            return super().apply(model)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                _share(module)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Restore the original batch norms; parameters and running statistics stay."""
        for module in model.modules():
            if isinstance(module, _Shared):
                module.__class__ = module.original  # type: ignore[assignment]  # mypy takes __class__ as fixed
        return super().revert(model)


class _Shared(_BatchNorm):
    """Batch norm whose statistics in training, and their gradients, come from all processes."""

    original: type[_BatchNorm]

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # the original batch norm has checked it

    def forward(self, input: Tensor) -> Tensor:
        """Normalize [B, K] or [B, K, ...]; the shape stays."""
        if not self.training:
            return super().forward(input)
        from torch.distributed.nn.functional import all_reduce

        dims, shape = [0, *range(2, input.ndim)], [1, -1] + [1] * (input.ndim - 2)
        number = input.new_full((1,), input.numel() / input.shape[1])
        *_, count = total = all_reduce(torch.cat([input.sum(dims), number]))
        mean = total[:-1] / count
        centred = input - mean.view(shape)
        variance = all_reduce(centred.square().sum(dims)) / count
        with torch.no_grad():
            assert self.num_batches_tracked is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        return normal * self.weight.view(shape) + self.bias.view(shape) if self.affine else normal


def _share(module: _BatchNorm) -> None:
    original: type[_BatchNorm] = type(module)
    module.__class__ = _Shared
    assert isinstance(module, _Shared)
    module.original = original
