"""Attention in PyTorch: the peer of `attention` and `targetAttention`.

    python3 attention.py serve FOLDER    answers `forward-bmm N` and so on, see common.py; `open 1` reads the FOLDER

The folder holds `dims` and the arrays q, k, v, dy [batch, length, heads, width], starts and ends [batch]: keys that
count. Forms are `naive`, `bmm` and `sdp`; `both` is forward with backward. The loss of a run is the sum of the squares
of its results, without queries that see no key.
"""
import json
import math
import sys

import torch.nn.functional as F
from common import np, serve, torch


def naive(q, k, v, mask):
    scores = torch.matmul(q, k.transpose(-1, -2)) * (1 / math.sqrt(q.shape[-1]))
    return torch.matmul(torch.softmax(scores if mask is None else scores + mask, -1), v)


def bmm(q, k, v, mask):
    batch, heads, queries, width = q.shape
    keys = k.shape[2]
    q, k, v = (x.reshape(batch * heads, -1, width) for x in (q, k, v))
    scores = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=1 / math.sqrt(width))
    if mask is not None:
        scores = (scores.view(batch, heads, queries, keys) + mask).view(batch * heads, queries, keys)
    return torch.bmm(torch.softmax(scores, -1), v).view(batch, heads, queries, width)


def sdp(q, k, v, mask):
    # Its mask is added before the heads are told apart.
    return F._scaled_dot_product_attention(q, k, v, mask, 0.0, False, False)[0]


class Results:
    def __init__(self, peer, results):
        self.peer, self.results = peer, results

    def __float__(self):
        y, *gradients = self.results
        results = [torch.where(self.peer.sees, y.detach(), torch.zeros(())), *(x.grad for x in gradients)]
        return float(sum(x.square().sum() for x in results))


class Variants:
    def __init__(self, folder):
        self.folder = folder

    def __getitem__(self, name):
        if name == "open":
            return self.open
        direction, form = name.split("-")
        return lambda: getattr(self, direction)(globals()[form])

    def open(self):
        dims = json.load(open(f"{self.folder}/dims"))
        batch, queries, keys, heads, width = (dims[key] for key in ("batch", "queries", "keys", "heads", "width"))
        read = lambda name: torch.from_numpy(np.fromfile(f"{self.folder}/{name}", np.float32))
        rows = lambda name: read(name).view(batch, -1, heads, width).transpose(1, 2).contiguous()
        self.q, self.k, self.v, self.dy = (rows(name) for name in ("q", "k", "v", "dy"))
        starts, ends = read("starts"), read("ends")
        key, query = torch.arange(keys), torch.arange(queries)[:, None]
        hidden = (key < starts[:, None]) | (key >= ends[:, None])
        hidden = hidden[:, None, None, :].expand(batch, 1, queries, keys)
        if dims["causal"]:
            hidden = hidden | (key > query)
        self.sees = ~hidden.all(-1, keepdim=True)
        # The least finite value: a row of minus infinities would give NaN.
        least = torch.finfo(torch.float32).min
        self.mask = torch.zeros(hidden.shape).masked_fill(hidden, least) if hidden.any() else None
        return 0

    def forward(self, form):
        with torch.no_grad():
            return Results(self, [form(self.q, self.k, self.v, self.mask)])

    def both(self, form):
        operands = [x.requires_grad_() for x in (self.q, self.k, self.v)]
        for x in operands:
            x.grad = None
        y = form(*operands, self.mask)
        y.backward(self.dy)
        return Results(self, [y, *operands])


serve(Variants(sys.argv[2]))
