"""Batch normalisation over the batches of all processes, on GPUs and, which torch's own cannot, on processors."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(TorchSyncBatchNorm):
    """Lightning's plugin: while a distributed run trains, its batch norms see what one process would see."""

    def apply(self, model: pl.LightningModule) -> torch.nn.Module:
        """Replace the batch norms: by torch's on a GPU, else by `_Shared`."""
        if next(model.parameters()).device.type == "cuda":
            return super().apply(model)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.alone, module.__class__ = type(module), _Shared
        return model

    def revert(self, model: pl.LightningModule) -> torch.nn.Module:
        """Put the ordinary ones back; parameters and running statistics stay."""
        for module in model.modules():
            if isinstance(module, _Shared):
                module.__class__ = module.alone
        return super().revert(model)


class _Shared(_BatchNorm):
    """A batch norm whose statistics in training, and their gradients, are those of all processes."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # the one it stands for has checked

    def forward(self, input: Tensor) -> Tensor:
        """[B, K] or [B, K, ...] to the same shape."""
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
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        return normal * self.weight.view(shape) + self.bias.view(shape) if self.affine else normal
