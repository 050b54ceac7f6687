"""Muon for the layers' matrices (Jordan et al. 2024), AdamW for embeddings and norms (Loshchilov & Hutter 2019).

Muon: momentum, then the nearest orthogonal matrix by five Newton-Schulz steps; about half the tokens of AdamW to the same
loss at this size, which is what makes minutes on two cores enough.
"""
import torch


def orthogonalise(matrices):
    """(count, rows, columns) -> each U V' of its singular value decomposition, roughly: singular values in 0.7..1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.01):
        by_shape = {}
        for parameter in parameters:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        super().__init__([{"params": group} for group in by_shape.values()],
                         dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            updates = []
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                updates.append(parameter.grad.lerp(state["momentum"], group["momentum"]))
            rows, columns = group["params"][0].shape
            scale = max(1, rows / columns) ** 0.5
            for parameter, update in zip(group["params"], orthogonalise(torch.stack(updates))):
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def optimisers(model, matrix_rate, other_rate):
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        (matrices if ".layers." in name and parameter.dim() == 2 else others).append(parameter)
    return [Muon(matrices, lr=matrix_rate),
            torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), weight_decay=0.0)]
