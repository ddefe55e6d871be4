"""SASRec in PyTorch, trained step by step: the peer of the `sasrec` system.

    python3 sasrec.py export FOLDER    writes initial weights and batches as safetensors
    python3 sasrec.py serve            answers `all N`, `last N`, `plain-all N`, `plain-last N`, see common.py

3,646 items, histories of 50 padded on the left, 64 channels, 2 blocks of one head, softmax over all items. `all` passes
every position through both blocks, as models are usually written; `last` computes of the last block the last position
alone, which is all that the loss reads. `plain` is without dropout: its losses can be compared.
"""
import math
import sys

from common import np, serve, torch, write_tensors
import torch.nn as nn
import torch.nn.functional as F

ITEMS, LENGTH, CHANNELS, BLOCKS = 3646, 50, 64, 2
BATCH, BATCHES = 256, 8


class Attention(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(CHANNELS, CHANNELS) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, asking, x, mask):
        scores = torch.bmm(self.query(asking), self.key(x).transpose(1, 2)) / math.sqrt(CHANNELS) + mask
        return self.output(torch.bmm(self.dropout(torch.softmax(scores, 2)), self.value(x)))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(CHANNELS, 4 * CHANNELS), nn.Linear(4 * CHANNELS, CHANNELS)

    def forward(self, x):
        return self.outer(F.gelu(self.inner(x)))


class Block(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.attention, self.feedForward = Attention(dropout), FeedForward()
        self.attentionNorm, self.feedForwardNorm = (nn.LayerNorm(CHANNELS, eps=1e-12) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask, positions):
        asking = x[:, -positions:]
        mixed = self.attentionNorm(asking + self.dropout(self.attention(asking, x, mask[:, -positions:])))
        return self.feedForwardNorm(mixed + self.dropout(self.feedForward(mixed)))


class SASRec(nn.Module):
    def __init__(self, dropout, last_only):
        super().__init__()
        self.items = nn.Embedding(ITEMS + 1, CHANNELS, padding_idx=0)
        self.positions = nn.Parameter(torch.empty(LENGTH, CHANNELS))
        self.norm = nn.LayerNorm(CHANNELS, eps=1e-12)
        self.blocks = nn.ModuleList(Block(dropout) for _ in range(BLOCKS))
        self.dropout = nn.Dropout(dropout)
        self.last_only = last_only
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, 0, 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, history, target):
        hidden = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1) | (history == 0).unsqueeze(1)
        mask = hidden * -10000.0
        x = self.dropout(self.norm(self.items(history) + self.positions))
        for i, block in enumerate(self.blocks):
            x = block(x, mask, 1 if self.last_only and i == BLOCKS - 1 else LENGTH)
        return F.cross_entropy(x[:, -1] @ self.items.weight.t(), target)


def batches():
    """(history, target) of each batch; popular items more often."""
    random = np.random.default_rng(0)
    draw = lambda *shape: 1 + np.floor(ITEMS * random.random(shape) ** 2).astype(np.int32)
    for _ in range(BATCHES):
        history = draw(BATCH, LENGTH)
        history[np.arange(LENGTH)[None] >= random.integers(1, LENGTH + 1, BATCH)[:, None]] = 0
        yield np.ascontiguousarray(history[:, ::-1]), draw(BATCH)


def fresh(dropout=0.0, last_only=False):
    torch.manual_seed(0)
    return SASRec(dropout, last_only)


def trainer(model, data):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=True)
    turn = [0]

    def step():
        turn[0] += 1
        optimizer.zero_grad(set_to_none=True)
        loss = model(*data[(turn[0] - 1) % BATCHES])
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def main():
    if sys.argv[1] == "export":
        folder = sys.argv[2]
        write_tensors(f"{folder}/weights.safetensors", {k: v.numpy() for k, v in fresh().state_dict().items()})
        drawn = {f"{i}.{name}": array for i, batch in enumerate(batches()) for name, array in zip(("history", "target"), batch)}
        return write_tensors(f"{folder}/batches.safetensors", drawn)
    data = [tuple(torch.from_numpy(array).long() for array in batch) for batch in batches()]
    variants = {"all": (0.5, False), "last": (0.5, True), "plain-all": (0.0, False), "plain-last": (0.0, True)}
    serve({name: trainer(fresh(*options), data) for name, options in variants.items()})


main()
