"""Pooled rows of a large table in PyTorch: the peer of `embeddingBag` and its optimisers.

    python3 embeddingBag.py export FOLDER KIND ROWS CHANNELS    writes the table and batches as safetensors
    python3 embeddingBag.py serve KIND ROWS CHANNELS            answers `forward N`, `rowWise N`, `adam N`, see common.py

4,096 bags of 50 ids; KIND is zipf or uniform. PyTorch has no row-wise Adagrad: it is composed of its operations, as
users write it. `adam` is torch.optim.SparseAdam.
"""
import sys

from common import np, serve, torch, write_tensors

KIND, ROWS, CHANNELS = sys.argv[-3], int(sys.argv[-2]), int(sys.argv[-1])
BAGS, SIZE, BATCHES = 4096, 50, 4
RATE, EPSILON = 0.01, 1e-8


def batches():
    random = np.random.default_rng(0)
    shuffled = random.permutation(ROWS)
    mass = np.cumsum(1.0 / np.arange(1, ROWS + 1) ** 1.05)
    for _ in range(BATCHES):
        drawn = random.random(BAGS * SIZE)
        ids = drawn * ROWS if KIND == "uniform" else shuffled[np.searchsorted(mass, drawn * mass[-1])]
        yield ids.astype(np.int32)


def table():
    torch.manual_seed(0)
    return torch.randn(ROWS, CHANNELS) * 0.01


def main():
    if sys.argv[1] == "export":
        folder = sys.argv[2]
        offsets = np.arange(0, BAGS * SIZE + 1, SIZE, dtype=np.int32)
        write_tensors(f"{folder}/weights.safetensors", {"weight": table().numpy()})
        fields = [{f"{i}.ids": ids, f"{i}.offsets": offsets} for i, ids in enumerate(batches())]
        return write_tensors(f"{folder}/batches.safetensors", {k: v for field in fields for k, v in field.items()})
    data = [torch.from_numpy(ids).long() for ids in batches()]
    offsets = torch.arange(0, BAGS * SIZE, SIZE)
    trained = torch.nn.EmbeddingBag(ROWS, CHANNELS, mode="sum", sparse=True, _weight=table())
    sums = torch.zeros(ROWS)
    optimizer = torch.optim.SparseAdam(trained.parameters(), lr=RATE)
    turns = {"forward": 0, "rowWise": 0, "adam": 0}

    def ids(name):
        turns[name] += 1
        return data[(turns[name] - 1) % BATCHES]

    @torch.no_grad()
    def forward():
        return trained(ids("forward"), offsets).mean()

    def backward(name):
        trained.weight.grad = None
        loss = trained(ids(name), offsets).mean()
        loss.backward()
        return loss.detach()

    def row_wise():
        loss = backward("rowWise")
        with torch.no_grad():
            gradient = trained.weight.grad.coalesce()
            rows, values = gradient.indices()[0], gradient.values()
            total = sums.index_select(0, rows).add_(values.square().mean(1))
            sums.index_copy_(0, rows, total)
            trained.weight.index_add_(0, rows, values.div_((total.sqrt_() + EPSILON).unsqueeze(1)), alpha=-RATE)
        return loss

    def adam():
        loss = backward("adam")
        optimizer.step()
        return loss

    serve({"forward": forward, "rowWise": row_wise, "adam": adam})


main()
