"""A linear layer with softmax cross entropy over an item set, loss and gradients: the peer of `linearCrossEntropy`.

    python3 crossEntropy.py serve ROWS CHANNELS CLASSES NEGATIVES    answers `full N` and `sampled N`, see common.py

`sampled` scores each row's label and NEGATIVES shared items; gradients of the table are sparse, as users ask for.
"""
import sys

from common import serve, torch

rows, channels, classes, negatives = map(int, sys.argv[2:6])
torch.manual_seed(0)
x = torch.randn(rows, channels).mul_(0.2).requires_grad_()
weight = torch.randn(classes, channels).mul_(0.2).requires_grad_()
table = torch.nn.Embedding(classes, channels, sparse=True, _weight=weight.detach().clone())
labels = torch.arange(rows) * 7919 % classes
sample = torch.arange(negatives) * 104729 % classes


def full():
    x.grad = weight.grad = None
    loss = torch.nn.functional.cross_entropy(x @ weight.T, labels, reduction="sum")
    loss.backward()
    return loss.detach()


def sampled():
    x.grad = table.weight.grad = None
    own = (x * table(labels)).sum(1, keepdim=True)
    others = (x @ table(sample).T).masked_fill(labels[:, None] == sample, -1e9)
    loss = -torch.log_softmax(torch.cat([own, others], 1), 1)[:, 0].sum()
    loss.backward()
    return loss.detach()


serve({"full": full, "sampled": sampled})
