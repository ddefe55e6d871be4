"""PyTorch on a GPU beside the cases of bench/gpu/cases.ts: one JSON object a line, {case, variant, milliseconds}.

Times are medians of 20 runs between CUDA events, after warming up. A case that PyTorch cannot run here says `error`.
"""
import json

import torch
import torch.nn.functional as F

GPU = torch.device("cuda")


def median(work, rounds=20, warm=5):
    for _ in range(warm):
        work()
    times = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[rounds // 2]


def case(name, variant, make):
    try:
        print(json.dumps({"case": name, "variant": variant, "milliseconds": median(make())}), flush=True)
    except Exception as error:  # one case less, and the reason
        print(json.dumps({"case": name, "variant": variant, "error": str(error)[:300]}), flush=True)
    torch.cuda.empty_cache()


def fft(batch, length):
    x = torch.randn(batch, length, 64, device=GPU)
    w = torch.randn(length // 2 + 1, 64, dtype=torch.complex64, device=GPU)
    return lambda: torch.fft.irfft(torch.fft.rfft(x, dim=1) * w, n=length, dim=1)


def attention(batch, heads, length, width, backward):
    shape = (batch, heads, length, width)
    q, k, v, dy = (torch.randn(shape, device=GPU, dtype=torch.bfloat16) for _ in range(4))
    for tensor in (q, k, v):
        tensor.requires_grad_(backward)

    def work():
        y = F.scaled_dot_product_attention(q, k, v)
        if backward:
            torch.autograd.grad(y, (q, k, v), dy)

    return work


def bag(draw, training):
    rows, bags, size = 50_000_000, 65_536, 50
    table = torch.nn.EmbeddingBag(rows, 64, mode="sum", sparse=True, device=GPU)
    ids = (rows * torch.rand(bags * size, device=GPU, dtype=torch.float64) ** (8 if draw == "zipf" else 1)).long()
    offsets = torch.arange(0, bags * size, size, device=GPU)
    if not training:
        return lambda: table(ids, offsets)
    optimizer = torch.optim.Adagrad(table.parameters(), lr=0.01)

    def step():
        optimizer.zero_grad(set_to_none=True)
        table(ids, offsets).sum().backward()
        optimizer.step()

    return step


def mmoe(compiled):
    import mmoe as peer  # its sizes and its model

    batch = 8192
    torch.set_default_device(GPU)
    model = peer.Loop()
    ids = (peer.ROWS * torch.rand(batch, peer.FEATURES) ** 4).long()
    target = (peer.ROWS * torch.rand(batch) ** 4).long()
    history = (peer.ROWS * torch.rand(batch, peer.LENGTH) ** 4).long()
    length = torch.randint(1, peer.LENGTH + 1, (batch,))
    label = torch.rand(batch, peer.TASKS)
    tables = [model.cat.weight, model.item.weight]
    dense = [p for p in model.parameters() if all(p is not table for table in tables)]
    optimizers = [torch.optim.SparseAdam(tables, lr=1e-3), torch.optim.Adam(dense, lr=1e-3)]
    forward = torch.compile(model) if compiled else model

    def step():
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        logits = forward(ids, target, history, length)
        (peer.TASKS * F.binary_cross_entropy_with_logits(logits, label)).backward()
        for optimizer in optimizers:
            optimizer.step()

    return step


def product():
    a, b = (torch.randn(8192, 8192, device=GPU) for _ in range(2))
    return lambda: a @ b


if torch.cuda.is_available():
    for batch, lengths in ((65536, (50, 64, 100, 128)), (16384, (200, 256))):
        for length in lengths:
            case(f"frequencyFilter [{batch},{length},64]", "torch.fft", lambda: fft(batch, length))
    for batch, heads, length, width in ((4096, 2, 50, 32), (1024, 4, 200, 64), (16, 8, 1024, 64)):
        for backward, kind in ((False, "forward"), (True, "forward and backward")):
            name = f"attention [{batch},{length},{heads},{width}] {kind}"
            case(name, "scaled_dot_product_attention", lambda: attention(batch, heads, length, width, backward))
    for draw in ("uniform", "zipf"):
        for training, kind in ((False, "forward"), (True, "forward, backward, row-wise Adagrad")):
            name = f"embedding bag 50000000 x 64, 65536 bags of 50, {draw}: {kind}"
            case(name, "EmbeddingBag", lambda: bag(draw, training))
    for compiled, variant in ((False, "MMoE eager"), (True, "MMoE compiled")):
        case("MMoE training step, batch 8192, 20 ids, 3 tasks", variant, lambda: mmoe(compiled))
    case("matmul [8192,8192,8192]", "matmul", product)
