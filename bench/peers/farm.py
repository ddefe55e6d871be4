"""FARM in PyTorch, trained step by step: the peer of the `farm` system.

    python3 farm.py export FOLDER    writes initial weights and batches as safetensors
    python3 farm.py serve            answers `packed N` and `padded N`, see common.py

Sizes of bench/farm.ts. `padded` computes every place of the padded histories, as models are usually written; `packed`
passes only the acts that are there through layers that work act by act. Both have the low band as a product with a few
waves, one product for the experts' first layers, and target attention that projects the query and no item.
"""
import math
import sys

from common import np, serve, torch, write_tensors
import torch.nn as nn
import torch.nn.functional as F

D, HEADS, CHANNELS, CONTEXT = 64, 4, 16, 16
TIME = {"live": 50, "video": 150}
LEAST = {"live": 10, "video": 50}
ROWS = {"item": 100_000, "author": 20_000, "tag": 64}
BEHAVIOURS, GROUPS, USERS = 8, 1000, 100_000
TASKS, EACH, SHARED, HIDDEN, WIDTH, TOWER = 6, 2, 2, 256, 128, 64
INPUTS = CONTEXT + 4 * D
BATCH, BATCHES = 256, 6
TAU, LAMBDA = 0.1, 0.1


def shapes():
    """Parameters by the names that they have in the system; stacked ones lead with their count."""
    found = {f"inputs.tables.{name}.weight": (rows, CHANNELS) for name, rows in ROWS.items()}
    found["inputs.behaviours.weight"] = (BEHAVIOURS, D)
    found["inputs.context.stacked.width16.weight"] = (GROUPS, CONTEXT)

    def linear(name, inputs, outputs, *lead):
        found[f"{name}.weight"] = (*lead, outputs, inputs)
        found[f"{name}.bias"] = (*lead, outputs)

    linear("inputs.target", 3 * CHANNELS, D)
    for domain, time in TIME.items():
        linear(f"inputs.domains.{domain}.project", 3 * CHANNELS, D)
        found[f"inputs.domains.{domain}.positions"] = (time, D)
        linear(f"encoders.{domain}.gate.inner", 3 * D + CONTEXT, D)
        linear(f"encoders.{domain}.gate.outer", D, 2)
        linear(f"encoders.{domain}.feedForward.inner", D, 2 * D)
        linear(f"encoders.{domain}.feedForward.outer", 2 * D, D)
        found[f"align.poolings.{domain}.query"] = (D,)
        linear(f"align.heads.{domain}.0", D, D)
        linear(f"align.heads.{domain}.2", D, D)
    norms = [f"encoders.{domain}.{name}" for domain in TIME for name in ("norm", "feedForwardNorm")]
    for name in norms + ["fuse.liveReadsVideo.norm", "fuse.videoReadsLive.norm"]:
        found[f"{name}.weight"] = found[f"{name}.bias"] = (D,)
    attentions = ["target.live", "target.video", "liveReadsVideo.attention", "videoReadsLive.attention", "both"]
    for name in attentions:
        for part in ("query", "key", "value"):
            found[f"fuse.{name}.{part}.weight"] = (D, D)
    linear("fuse.gate", 4 * D, 3 * D)
    linear("fuse.output", 3 * D, D)
    for level, inputs in enumerate((INPUTS, WIDTH)):
        at = f"predictor.levels.{level}"
        for name, count in (("experts", TASKS * EACH), ("shared", SHARED)):
            linear(f"{at}.{name}.0", inputs, HIDDEN, count)
            linear(f"{at}.{name}.2", HIDDEN, WIDTH, count)
        linear(f"{at}.gates", inputs, EACH + SHARED, TASKS)
        if level == 0:
            linear(f"{at}.sharedGate", inputs, TASKS * EACH + SHARED, 1)
    linear("predictor.towers.0", WIDTH, TOWER, TASKS)
    linear("predictor.towers.2", TOWER, 1, TASKS)
    return found


def initial():
    torch.manual_seed(0)
    values = {}
    for name, shape in shapes().items():
        if "orm." in name:
            values[name] = torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        elif "tables" in name or "context" in name or "positions" in name or "behaviours" in name:
            values[name] = torch.randn(shape) * 0.1
        else:
            values[name] = (torch.rand(shape) * 2 - 1) / math.sqrt(shape[-1])
    return values


def waves(time):
    """An orthonormal basis of the bins below the cutoff: [time, 2 cutoff - 1]."""
    cutoff = min(round(0.06 * time) + 1, time // 2 + 1)
    angle = 2 * math.pi * torch.arange(time).unsqueeze(1) * torch.arange(1, cutoff) / time
    constant = torch.full((time, 1), 1 / math.sqrt(time))
    return torch.cat([constant, torch.cos(angle) * math.sqrt(2 / time), torch.sin(angle) * math.sqrt(2 / time)], 1)


class Farm(nn.Module):
    def __init__(self, packed):
        super().__init__()
        self.packed = packed
        values = initial()
        self.sparse = {k: nn.Parameter(v) for k, v in values.items() if "tables" in k or "context" in k}
        self.dense = {k: nn.Parameter(v) for k, v in values.items() if k not in self.sparse}
        self.waves = {domain: waves(time) for domain, time in TIME.items()}

    def look_up(self, name, ids):
        return F.embedding(ids, self.sparse[name], sparse=True)

    def linear(self, name, x):
        return F.linear(x, self.dense[f"{name}.weight"], self.dense[f"{name}.bias"])

    def norm(self, name, x):
        return F.layer_norm(x, (D,), self.dense[f"{name}.weight"], self.dense[f"{name}.bias"], 1e-5)

    def fields(self, ids):
        return torch.cat([self.look_up(f"inputs.tables.{name}.weight", each) for name, each in zip(ROWS, ids)], -1)

    def each(self, mask, function, x):
        """A function of single acts, on all places or on those that hold one; zeros elsewhere."""
        if not self.packed:
            return function(x)
        rows = function(x[mask])
        return torch.zeros(*mask.shape, rows.shape[-1]).index_put((mask,), rows)

    def acts(self, domain, ids, length, mask):
        recency = (length.unsqueeze(1) - 1 - torch.arange(TIME[domain])).clamp(min=0)
        chosen = [each[mask] for each in ids] + [recency[mask]] if self.packed else [*ids, recency]
        rows = self.linear(f"inputs.domains.{domain}.project", self.fields(chosen[:3]))
        rows = rows + F.embedding(chosen[3], self.dense["inputs.behaviours.weight"])
        rows = rows + F.embedding(chosen[4], self.dense[f"inputs.domains.{domain}.positions"])
        if self.packed:
            return torch.zeros(*mask.shape, D).index_put((mask,), rows)
        return rows * mask.unsqueeze(2)

    def encode(self, domain, v, length, mask, context):
        at = f"encoders.{domain}"
        mean = v.sum(1) / length.unsqueeze(1)
        most = v.masked_fill(~mask.unsqueeze(2), -1e30).amax(1)
        seen = torch.cat([mean, most, *context], 1)
        gains = torch.sigmoid(self.linear(f"{at}.gate.outer", torch.relu(self.linear(f"{at}.gate.inner", seen))))
        alpha, beta = gains.unsqueeze(2).unbind(1)
        basis = self.waves[domain]
        low = torch.matmul(basis, torch.matmul(basis.t(), v))
        x = v + beta.unsqueeze(2) * v + (alpha - beta).unsqueeze(2) * low

        def after(x):
            h = self.norm(f"{at}.norm", x)
            inner = F.gelu(self.linear(f"{at}.feedForward.inner", h))
            return self.norm(f"{at}.feedForwardNorm", h + self.linear(f"{at}.feedForward.outer", inner))

        return self.each(mask, after, x)

    def target(self, name, candidate, items, mask):
        heads = lambda part: self.dense[f"fuse.{name}.{part}.weight"].view(HEADS, D // HEADS, D)
        query = F.linear(candidate, self.dense[f"fuse.{name}.query.weight"]).view(-1, HEADS, D // HEADS)
        asked = torch.bmm(query.transpose(0, 1), heads("key")).transpose(0, 1)
        scores = torch.bmm(asked, items.transpose(1, 2)) / math.sqrt(D // HEADS)
        weights = torch.softmax(scores.masked_fill(~mask.unsqueeze(1), -math.inf), 2)
        mixed = torch.bmm(weights, items).transpose(0, 1)
        return torch.bmm(mixed, heads("value").transpose(1, 2)).transpose(0, 1).reshape(-1, D)

    def reads(self, name, own, mask, other, other_mask):
        def heads(part, x, where):
            weight = self.dense[f"fuse.{name}.attention.{part}.weight"]
            y = self.each(where, lambda rows: F.linear(rows, weight), x)
            return y.view(*y.shape[:2], HEADS, D // HEADS).transpose(1, 2)

        query, key, value = heads("query", own, mask), heads("key", other, other_mask), heads("value", other, other_mask)
        scores = torch.matmul(query, key.transpose(2, 3)) / math.sqrt(D // HEADS)
        weights = torch.softmax(scores.masked_fill(~other_mask[:, None, None], -math.inf), 3)
        read = torch.matmul(weights, value).transpose(1, 2).reshape(own.shape)
        return self.each(mask, lambda x: self.norm(f"fuse.{name}.norm", x), own + read)

    def projected(self, domain, f, mask):
        scores = torch.matmul(f, self.dense[f"align.poolings.{domain}.query"]) / math.sqrt(D)
        weights = torch.softmax(scores.masked_fill(~mask, -math.inf), 1)
        pooled = torch.bmm(weights.unsqueeze(1), f).squeeze(1)
        at = f"align.heads.{domain}"
        return F.normalize(self.linear(f"{at}.2", torch.relu(self.linear(f"{at}.0", pooled))), dim=1)

    def contrast(self, f, masks, user):
        scores = self.projected("video", f["video"], masks["video"]) @ self.projected("live", f["live"], masks["live"]).t()
        others = (user.unsqueeze(0) == user.unsqueeze(1)).fill_diagonal_(False)
        scores = (scores / TAU).masked_fill(others, -math.inf)
        truth = torch.arange(len(user))
        return (F.cross_entropy(scores, truth) + F.cross_entropy(scores.t(), truth)) / 2

    def experts(self, name, x):
        """x[groups, batch, in], or [batch, in] for all -> [count, batch, out]."""
        for layer in (0, 2):
            weight, bias = (self.dense[f"{name}.{layer}.{part}"] for part in ("weight", "bias"))
            count, outputs, inputs = weight.shape
            if x.dim() == 2:
                y = torch.addmm(bias.reshape(-1), x, weight.view(-1, inputs).t())
                x = torch.relu(y).view(-1, count, outputs).transpose(0, 1)
            elif len(x) == count:
                x = torch.relu(torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2)))
            else:
                groups = len(x)
                wide = weight.view(groups, -1, inputs).transpose(1, 2)
                y = torch.relu(torch.baddbmm(bias.view(groups, 1, -1), x, wide))
                x = y.view(groups, -1, count // groups, outputs).transpose(1, 2).reshape(count, -1, outputs)
        return x

    def gates(self, name, x):
        weight, bias = self.dense[f"{name}.weight"], self.dense[f"{name}.bias"]
        x = x.expand(len(weight), *x.shape) if x.dim() == 2 else x
        return torch.softmax(torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2)), 2)

    def level(self, at, x, last):
        own, common = (x, x) if x.dim() == 2 else (x[:TASKS], x[TASKS:])
        experts, shared = self.experts(f"{at}.experts", own), self.experts(f"{at}.shared", common)
        weights = self.gates(f"{at}.gates", own)
        grouped = experts.view(TASKS, EACH, *experts.shape[1:])
        mixed = torch.einsum("tbe,tebw->tbw", weights[:, :, :EACH], grouped)
        mixed = mixed + torch.einsum("tbe,ebw->tbw", weights[:, :, EACH:], shared)
        if last:
            return mixed
        every = torch.cat([experts, shared])
        return torch.cat([mixed, torch.einsum("tbe,ebw->tbw", self.gates(f"{at}.sharedGate", common), every)])

    def forward(self, candidate, label, length, acts):
        item, author, tag, group, user = candidate.unbind(1)
        x = self.linear("inputs.target", self.fields([item, author, tag]))
        known = self.look_up("inputs.context.stacked.width16.weight", group)
        masks, f = {}, {}
        for i, domain in enumerate(("video", "live")):
            masks[domain] = torch.arange(TIME[domain]) < length[:, i : i + 1]
            v = self.acts(domain, acts[domain], length[:, i], masks[domain])
            f[domain] = self.encode(domain, v, length[:, i], masks[domain], [known, x])
        live = self.reads("liveReadsVideo", f["live"], masks["live"], f["video"], masks["video"])
        video = self.reads("videoReadsLive", f["video"], masks["video"], f["live"], masks["live"])
        said = [self.target(f"target.{domain}", x, f[domain], masks[domain]) for domain in TIME]
        both = torch.cat([masks["live"], masks["video"]], 1)
        parts = torch.cat([*said, self.target("both", x, torch.cat([live, video], 1), both)], 1)
        cross = self.linear("fuse.output", torch.sigmoid(self.linear("fuse.gate", torch.cat([parts, x], 1))) * parts)
        y = torch.cat([known, x, *said, cross], 1)
        for level in range(2):
            y = self.level(f"predictor.levels.{level}", y, level == 1)
        for layer in (0, 2):
            weight, bias = (self.dense[f"predictor.towers.{layer}.{part}"] for part in ("weight", "bias"))
            y = torch.baddbmm(bias.unsqueeze(1), y, weight.transpose(1, 2))
            y = torch.relu(y) if layer == 0 else y
        logits = y.squeeze(2).t()
        labels = F.binary_cross_entropy_with_logits(logits, label, reduction="none").mean(0).sum()
        return labels + LAMBDA * self.contrast(f, masks, user)


def batches():
    """(candidate [item, author, tag, group, user], label, length [video, live], ids by domain and field)."""
    random = np.random.default_rng(0)
    sizes = {**ROWS, "behaviour": BEHAVIOURS}
    draw = lambda size, shape: (size * random.random(shape) ** 3).astype(np.int32)
    for _ in range(BATCHES):
        candidate = np.stack([draw(size, BATCH) for size in (*ROWS.values(), GROUPS, USERS)], 1)
        label = (random.random((BATCH, TASKS)) < 0.2).astype(np.float32)
        names = ("video", "live")
        length = np.stack([random.integers(LEAST[n], TIME[n] + 1, BATCH) for n in names], 1).astype(np.int32)
        acts = {}
        for i, name in enumerate(names):
            there = np.arange(TIME[name]) < length[:, i : i + 1]
            acts[name] = [np.where(there, draw(size, there.shape), 0).astype(np.int32) for size in sizes.values()]
        yield candidate, label, length, acts


def trainer(model, data):
    dense, sparse = list(model.dense.values()), list(model.sparse.values())
    optimizers = [torch.optim.Adam(dense, lr=1e-3, foreach=True), torch.optim.SparseAdam(sparse, lr=1e-3)]
    turn = [0]

    def step():
        batch = data[turn[0] % BATCHES]
        turn[0] += 1
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = model(*batch)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss.detach()

    return step


STACKED = ("experts", "shared", "gates", "sharedGate", "towers")


def apart(name, value):
    """A stacked parameter as one for each module, as state dicts have them."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if parts[0] == "predictor" and part in STACKED), None)
    if at is None:
        return {name: value}
    return {".".join([*parts[: at + 1], str(i), *parts[at + 1 :]]): each for i, each in enumerate(value)}


def main():
    if sys.argv[1] == "export":
        weights = {k: v.numpy() for name, value in initial().items() for k, v in apart(name, value).items()}
        write_tensors(f"{sys.argv[2]}/weights.safetensors", weights)
        drawn = {}
        for i, (candidate, label, length, acts) in enumerate(batches()):
            fields = {f"{domain}_{name}": ids for domain in acts for name, ids in zip((*ROWS, "behaviour"), acts[domain])}
            for name, array in {"candidate": candidate, "label": label, "length": length, **fields}.items():
                drawn[f"{i}.{name}"] = array
        return write_tensors(f"{sys.argv[2]}/batches.safetensors", drawn)
    tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array))
    long = lambda array: tensor(array).long()
    data = [
        (long(candidate), tensor(label), long(length), {k: [long(ids) for ids in each] for k, each in acts.items()})
        for candidate, label, length, acts in batches()
    ]
    serve({"packed": trainer(Farm(True), data), "padded": trainer(Farm(False), data)})


main()
