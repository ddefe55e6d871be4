"""MMoE with target attention in PyTorch, trained step by step: the peer of the `mmoe` system.

    python3 mmoe.py export FOLDER         writes initial weights and batches as safetensors
    python3 mmoe.py export FOLDER onnx    and the fused model, to probabilities, as FOLDER/model.onnx
    python3 mmoe.py serve                 answers `fused N` and `loop N`, see common.py

20 id features of 100,000 rows x 16 in one table, items of 100,000 x 32 that target and history share, 4 experts
[512, 256], 3 tasks with towers [128, 64]. `loop` runs expert by expert, as models are usually written; `fused` runs the
experts' first layers and the gates as one matrix product and the other layers as batches.
"""
import math
import sys

from common import np, serve, torch, write_tensors
import torch.nn as nn
import torch.nn.functional as F

FEATURES, ROWS, CHANNELS, ITEM_CHANNELS, LENGTH = 20, 100_000, 16, 32, 50
INPUTS, HIDDEN, EXPERTS, TASKS, TOWER = FEATURES * CHANNELS + 2 * ITEM_CHANNELS, (512, 256), 4, 3, (128, 64)
BATCH, BATCHES = 1024, 16


def mlp(*sizes, last):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*(layers if last else layers[:-1]))


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.cat = nn.Embedding(FEATURES * ROWS, CHANNELS, sparse=True)
        self.item = nn.Embedding(ROWS, ITEM_CHANNELS, sparse=True)
        for table in (self.cat, self.item):
            nn.init.normal_(table.weight, 0, 0.01)
        self.query, self.key, self.value = (nn.Linear(ITEM_CHANNELS, ITEM_CHANNELS, bias=False) for _ in range(3))
        self.experts = nn.ModuleList(mlp(INPUTS, *HIDDEN, last=True) for _ in range(EXPERTS))
        self.gates = nn.ModuleList(nn.Linear(INPUTS, EXPERTS) for _ in range(TASKS))
        self.towers = nn.ModuleList(mlp(HIDDEN[1], *TOWER, 1, last=False) for _ in range(TASKS))

    def embed(self, ids, target, history, length):
        asked, items = self.item(target), self.item(history)
        score = torch.bmm(self.key(items), self.query(asked).unsqueeze(2)).squeeze(2) / math.sqrt(ITEM_CHANNELS)
        score = score.masked_fill(torch.arange(LENGTH) >= length.unsqueeze(1), -math.inf)
        said = torch.bmm(torch.softmax(score, 1).unsqueeze(1), self.value(items)).squeeze(1)
        rows = self.cat(ids + torch.arange(FEATURES) * ROWS).flatten(1)
        return torch.cat([rows, asked, said], 1)

    def forward(self, *batch):
        x = self.embed(*batch)
        experts = torch.stack([expert(x) for expert in self.experts], 1)
        mixed = [torch.bmm(torch.softmax(gate(x), 1).unsqueeze(1), experts).squeeze(1) for gate in self.gates]
        return torch.cat([tower(each) for tower, each in zip(self.towers, mixed)], 1)


class Fused(nn.Module):
    def __init__(self, loop):
        super().__init__()
        self.loop = [loop]  # not registered: its experts are not trained
        self.tables = nn.ModuleList([loop.cat, loop.item, loop.query, loop.key, loop.value])
        first = [expert[0] for expert in loop.experts] + list(loop.gates)
        self.first = nn.Parameter(torch.cat([layer.weight.data for layer in first]).t().contiguous())
        self.first_bias = nn.Parameter(torch.cat([layer.bias.data for layer in first]))
        self.second = self.stack([expert[2] for expert in loop.experts])
        self.towers = nn.ModuleList(self.stack([tower[i] for tower in loop.towers]) for i in (0, 2, 4))

    @staticmethod
    def stack(layers):
        weight = torch.stack([layer.weight.data.t() for layer in layers]).contiguous()
        return nn.ParameterList([weight, torch.stack([layer.bias.data for layer in layers]).unsqueeze(1)])

    def forward(self, *batch):
        wide = EXPERTS * HIDDEN[0]
        y = torch.addmm(self.first_bias, self.loop[0].embed(*batch), self.first)
        x = torch.relu(y[:, :wide]).view(-1, EXPERTS, HIDDEN[0]).transpose(0, 1)
        x = torch.relu(torch.baddbmm(self.second[1], x, self.second[0]))
        weights = torch.softmax(y[:, wide:].view(-1, TASKS, EXPERTS), 2)
        x = torch.bmm(weights, x.transpose(0, 1)).transpose(0, 1)
        for i, (weight, bias) in enumerate(self.towers):
            x = torch.baddbmm(bias, x, weight)
            if i < 2:
                x = torch.relu(x)
        return x.squeeze(2).t()


def batches():
    """Ids drawn by zipf(1.05) over shuffled ranks; (ids, target, history, length, label) of each batch."""
    random = np.random.default_rng(0)
    mass = np.cumsum(1.0 / np.arange(1, ROWS + 1) ** 1.05)
    ranks = np.stack([random.permutation(ROWS) for _ in range(FEATURES + 1)])
    draw = lambda feature, shape: ranks[feature][np.searchsorted(mass, random.random(shape) * mass[-1])]
    for _ in range(BATCHES):
        length = random.integers(1, LENGTH + 1, BATCH)
        history = draw(FEATURES, (BATCH, LENGTH))
        history[np.arange(LENGTH)[None] >= length[:, None]] = 0
        ids = np.stack([draw(feature, BATCH) for feature in range(FEATURES)], 1)
        label = (random.random((BATCH, TASKS)) < 0.2).astype(np.float32)
        yield ids, draw(FEATURES, BATCH), history, length, label


def trainer(model, data):
    tables = [table.weight for table in model.modules() if isinstance(table, nn.Embedding)]
    dense = [p for p in model.parameters() if all(p is not table for table in tables)]
    optimizers = [torch.optim.Adam(dense, lr=1e-3, foreach=True), torch.optim.SparseAdam(tables, lr=1e-3)]
    turn = [0]

    def step():
        *inputs, label = data[turn[0] % BATCHES]
        turn[0] += 1
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = F.binary_cross_entropy_with_logits(model(*inputs), label, reduction="none").mean(0).sum()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss.detach()

    return step


def fresh():
    torch.manual_seed(0)
    return Loop()


class Serving(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *batch):
        return torch.sigmoid(self.model(*batch))


def write_onnx(path):
    names = ["ids", "target", "history", "length"]
    example = tuple(torch.from_numpy(np.ascontiguousarray(array)).long() for array in next(batches())[:4])
    axes = {name: {0: "batch"} for name in names + ["probability"]}
    model = Serving(Fused(fresh())).eval()
    torch.onnx.export(model, example, path, input_names=names, output_names=["probability"], opset_version=14, dynamic_axes=axes)


def main():
    if sys.argv[1] == "export":
        folder = sys.argv[2]
        if "onnx" in sys.argv[3:]:
            write_onnx(f"{folder}/model.onnx")
        names = ("ids", "target", "history", "length", "label")
        write_tensors(f"{folder}/weights.safetensors", {k: v.numpy() for k, v in fresh().state_dict().items()})
        drawn = {f"{i}.{name}": array for i, batch in enumerate(batches()) for name, array in zip(names, batch)}
        return write_tensors(f"{folder}/batches.safetensors", drawn)
    data = [tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in batch) for batch in batches()]
    serve({"fused": trainer(Fused(fresh()), data), "loop": trainer(fresh(), data)})


main()
