"""musicnn (Pons and Serra 2019), embeddings of music: 200 numbers for three seconds of sound.

A convolutional network that was trained to tag MagnaTagATune's clips (guitar, slow, female vocal);
the layer before the tags is the embedding. The weights are those of the package musicnn 0.1.0 (ISC
licence), its kernels rounded to 16 bits; `songbloom/assets/musicnn/recipe.json` says which, and
`benchmarks/musicnn.py` made the file of them.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from songbloom.errors import SongBloomError
from songbloom.units import Hz

FOLDER = Path(__file__).parents[1] / "assets" / "musicnn"
WEIGHTS = FOLDER / "musicnn.safetensors"
SAMPLE_RATE: Hz = 16_000
WINDOW = 187  # spectra, of 256 samples each: 2.99 s, what the network was trained on
HOP = 94  # spectra from one window to the next: half of a window
DIM = 200
_FFT, _STEP, _MELS = 512, 256, 96
_LENGTHS = (128, 64, 32)  # spectra that the temporal filters see
_EPSILON = 1e-3  # of the batch normalisations
_BATCH = 4  # windows at once: more are no faster on a CPU


class Musicnn(nn.Module):
    """Log-mel windows `[B, 187, 96]` -> embeddings `[B, 200]`."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, _EPSILON)
        self.timbral = nn.ModuleList(_Layer(nn.Conv2d(1, 204, (7, width))) for width in (38, 67))
        self.temporal = nn.ModuleList(_Layer(nn.Conv2d(1, 51, (length, 1))) for length in _LENGTHS)
        self.middle = nn.ModuleList(
            _Layer(nn.Conv1d(channels, 64, 7, padding=3)) for channels in (561, 64, 64)
        )
        self.pool_norm = nn.BatchNorm1d(1506, _EPSILON)
        self.dense = nn.Linear(1506, DIM)
        self.dense_norm = nn.BatchNorm1d(DIM, _EPSILON)

    def forward(self, windows: Tensor) -> Tensor:
        x = self.input_norm(windows[:, None])
        timbral = [layer(F.pad(x, (0, 0, 3, 3))).amax(-1) for layer in self.timbral]
        temporal = [
            layer(_pad_time(x, length)).amax(-1)
            for layer, length in zip(self.temporal, _LENGTHS, strict=True)
        ]
        front = torch.cat([*timbral, *temporal], dim=1)
        one = self.middle[0](front)
        two = self.middle[1](one) + one
        three = self.middle[2](two) + two
        features = torch.cat([front, one, two, three], dim=1)
        pooled = torch.stack([features.amax(-1), features.mean(-1)], dim=-1)
        return self.dense_norm(F.relu(self.dense(self.pool_norm(pooled.flatten(1)))))


class _Layer(nn.Module):
    """Convolution, ReLU, batch normalisation, in this order."""

    def __init__(self, conv: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        kind = nn.BatchNorm1d if isinstance(conv, nn.Conv1d) else nn.BatchNorm2d
        self.norm = kind(conv.out_channels, _EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.relu(self.conv(x)))


def _pad_time(x: Tensor, length: int) -> Tensor:
    """Zeros before and after, for as many outputs as inputs: of an even kernel the more after."""
    before = (length - 1) // 2
    return F.pad(x, (0, 0, before, length - 1 - before))


class Embedder:
    """The network with its weights, for one song after another."""

    def __init__(self) -> None:
        from safetensors.torch import load_file

        tensors = {name: tensor.float() for name, tensor in load_file(WEIGHTS).items()}
        self._mel = tensors.pop("mel")
        self._model = Musicnn().eval().requires_grad_(False)
        tracked = {k: v for k, v in self._model.state_dict().items() if k.endswith("_tracked")}
        self._model.load_state_dict({**tracked, **tensors})

    def __call__(self, mono: np.ndarray) -> np.ndarray:
        """Embeddings float32 `[n, 200]` of sound `[samples]` at 16 kHz, a window every 1.5 s."""
        spectra = self.spectra(torch.from_numpy(mono))
        if len(spectra) < WINDOW:  # as in training: a shorter clip is heard again and again
            spectra = spectra.repeat(-(-WINDOW // len(spectra)), 1)[:WINDOW]
        windows = spectra.unfold(0, WINDOW, HOP).transpose(1, 2)
        with torch.inference_mode():
            parts = [self._model(part) for part in windows.split(_BATCH)]
        embeddings: np.ndarray = torch.cat(parts).numpy()
        if not np.isfinite(embeddings).all():
            raise SongBloomError("musicnn gives no numbers for this sound", "Leave the song out.")
        return embeddings

    def spectra(self, mono: Tensor) -> Tensor:
        """Log-mel spectra `[frames, 96]` of sound `[samples]`: 1 + samples // 256 of them."""
        frames = torch.stft(
            mono, _FFT, _STEP, window=torch.hann_window(_FFT), pad_mode="constant",
            return_complex=True,
        )  # fmt: skip
        return torch.log10(1 + 10_000 * (self._mel @ frames.abs().square()).T)
