"""What the PyTorch peers share: settings before torch starts, tensors for files, and rounds on request.

A peer is started by its bench with THREADS set and reads numbers from standard input: so many steps are run and their
times answered as one line of JSON, so that peer and bench take turns on the machine. With one thread times are CPU time
of the process: turns of other processes on the core do not count. With more they are wall time.
"""
import json
import os
import struct
import sys
import time

THREADS = int(os.environ.get("THREADS", "1"))
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(THREADS)

import numpy as np
import torch

torch.set_num_threads(THREADS)
torch.set_flush_denormal(True)
clock = time.process_time if THREADS == 1 else time.perf_counter


def write_tensors(path, arrays):
    """Writes arrays by name as safetensors."""
    header, at = {}, 0
    kinds = {"float32": "F32", "int32": "I32", "int64": "I64"}
    for name, array in arrays.items():
        span = [at, at + array.nbytes]
        header[name] = {"dtype": kinds[str(array.dtype)], "shape": list(array.shape), "data_offsets": span}
        at = span[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())


def answer(**fields):
    print(json.dumps(fields), flush=True)


def serve(variants):
    """Answers lines `<variant> <steps>` with the milliseconds and the losses of those steps."""
    answer(torch=torch.__version__, threads=torch.get_num_threads())
    for line in sys.stdin:
        name, steps = line.split()
        milliseconds, losses = [], []
        for _ in range(int(steps)):
            start = clock()
            loss = variants[name]()
            milliseconds.append((clock() - start) * 1e3)
            losses.append(float(loss))
        answer(milliseconds=milliseconds, losses=losses)
