"""The frequency filter and its transforms by torch.fft: the peer of `frequencyFilter`.

    python3 frequencyFilter.py serve FOLDER    answers `filter-50 N` and so on, see common.py

Variants are `filter-L`, `rfft-L` and `irfft-L`; x[256, L, 64] and w[L/2+1, 64] stand in FOLDER/x and FOLDER/w, and the
spectrum is that of x. The loss of a run is the mean square of its result.
"""
import sys

from common import np, serve, torch

BATCH, WIDTH = 256, 64


class Result:
    """A result whose loss is computed when asked for, outside of the time that is measured."""

    def __init__(self, y):
        self.y = y

    def __float__(self):
        return float((torch.view_as_real(self.y) if self.y.is_complex() else self.y).square().mean())


class Variants:
    """`filter-50` runs the filter of length 50 over what the folder holds when that length is first asked for."""

    def __init__(self, folder):
        self.folder, self.length = folder, None

    def __getitem__(self, name):
        kind, length = name.split("-")
        if self.length != int(length):
            self.load(int(length))
        x, w, spectrum, n = self.x, self.w, self.spectrum, self.length
        return {
            "filter": lambda: Result(torch.fft.irfft(torch.fft.rfft(x, dim=1) * w, n=n, dim=1)),
            "rfft": lambda: Result(torch.fft.rfft(x, dim=1)),
            "irfft": lambda: Result(torch.fft.irfft(spectrum, n=n, dim=1)),
        }[kind]

    def load(self, length):
        read = lambda name: torch.from_numpy(np.fromfile(f"{self.folder}/{name}", np.float32))
        self.length = length
        self.x = read("x").view(BATCH, length, WIDTH)
        self.w = torch.view_as_complex(read("w").view(length // 2 + 1, WIDTH, 2))
        self.spectrum = torch.fft.rfft(self.x, dim=1).contiguous()


with torch.no_grad():
    serve(Variants(sys.argv[2]))
