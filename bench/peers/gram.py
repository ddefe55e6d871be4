"""Inner products of task gradients in numpy: the peer of `gram`.

    python3 gram.py serve COLUMNS    answers `K N`: N runs of J J^T, J[K, COLUMNS], see common.py
"""
import sys

from common import np, serve

rows = np.random.default_rng(0).standard_normal((16, int(sys.argv[2])), dtype=np.float32)


def run(count):
    j = rows[:count]
    return lambda: (j @ j.T)[0, 0]


serve({str(count): run(count) for count in (2, 4, 8, 16)})
