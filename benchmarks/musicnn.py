"""Makes songbloom/assets/musicnn and its tests' fixture from the package musicnn 0.1.0.

    pip download --no-deps musicnn==0.1.0
    pip install tensorflow-cpu librosa safetensors      # in an environment of their own
    python benchmarks/musicnn.py musicnn-0.1.0-py3-none-any.whl

TensorFlow runs the graph that the package ships, on spectra by librosa, as the package does; what
it gives is the fixture. The weights of the tag layer, and of the optimiser, are left out.
"""

import hashlib
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import librosa
import tensorflow
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "songbloom" / "assets" / "musicnn"
FIXTURE = ROOT / "tests" / "evaluation" / "musicnn.safetensors"
MODEL = "musicnn/MTT_musicnn/"
MEL = {"sr": 16_000, "n_fft": 512, "n_mels": 96}
LAYERS = {
    "timbral.0": 0, "timbral.1": 1, "temporal.0": 2, "temporal.1": 3, "temporal.2": 4,
    "middle.0": 5, "middle.1": 6, "middle.2": 7,
}  # fmt: skip
NORMS = {"input_norm": 0, **{f"{k}.norm": n + 1 for k, n in LAYERS.items()}, "pool_norm": 9,
         "dense_norm": 10}  # fmt: skip
NORM_PARTS = {
    "weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
    "running_var": "moving_variance",
}  # fmt: skip


def main() -> None:
    wheel = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        stem = _unpack(wheel, Path(folder))
        variables = _variables(stem)
        tensors = _tensors(variables)
        _write_assets(wheel, tensors)
        sound = _sound()
        spectra = librosa.feature.melspectrogram(y=sound, hop_length=256, **MEL).T
        spectra = np.log10(10_000 * spectra + 1)
        windows = np.stack([spectra[at : at + 187] for at in (0, 94, 188)])
        windows = np.ascontiguousarray(windows, dtype=np.float32)
        rounded = {k: _rounded(k, v) for k, v in variables.items()}
        fixture = {
            "windows": windows,
            "embeddings": _forward(stem, variables, windows),
            "embeddings_of_rounded_weights": _forward(stem, rounded, windows),
        }
        save_file(fixture, FIXTURE)
        FIXTURE.chmod(0o644)


def _sound() -> np.ndarray:
    """Six seconds that any machine makes alike: chords, a glide and a beat of noise."""
    t = np.arange(6 * 16_000) / 16_000
    chord = sum(np.sin(2 * np.pi * f * t + f) / k for k, f in enumerate((220, 277.2, 329.6), 2))
    glide = 0.3 * np.sin(2 * np.pi * (300 * t + 120 * t**2))
    noise = np.random.default_rng(0).standard_normal(len(t)) * 0.2 * np.exp(-20 * (t % 0.5))
    return (0.3 * (chord + glide + noise)).astype(np.float32)


def _unpack(wheel: Path, folder: Path) -> str:
    """The checkpoint's files under names that TensorFlow takes for one."""
    with zipfile.ZipFile(wheel) as archive:
        for suffix in (".index", ".data-00000-of-00001", ".meta"):
            (folder / f"model{suffix}").write_bytes(archive.read(MODEL + suffix))
    return str(folder / "model")


def _variables(stem: str) -> dict[str, np.ndarray]:
    reader = tensorflow.train.load_checkpoint(stem)
    names = sorted(reader.get_variable_to_shape_map())
    return {n: reader.get_tensor(n) for n in names if "Adam" not in n and "_power" not in n}


def _tensors(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables under PyTorch's names and in its layouts."""
    tensors = {"mel": librosa.filters.mel(**MEL)}
    for name, number in NORMS.items():
        for ours, theirs in NORM_PARTS.items():
            tensors[f"{name}.{ours}"] = variables[f"batch_normalization{_suffix(number)}/{theirs}"]
    for name, number in LAYERS.items():
        kernel = _half(variables[f"conv2d{_suffix(number)}/kernel"]).transpose(3, 2, 0, 1)
        if name.startswith("middle"):  # [out, 1, time, in] -> [out, in, time]
            kernel = kernel[:, 0].transpose(0, 2, 1)
        tensors[f"{name}.conv.weight"] = kernel
        tensors[f"{name}.conv.bias"] = variables[f"conv2d{_suffix(number)}/bias"]
    tensors["dense.weight"] = _half(variables["dense/kernel"]).T
    tensors["dense.bias"] = variables["dense/bias"]
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _write_assets(wheel: Path, tensors: dict[str, np.ndarray]) -> None:
    ASSETS.mkdir(exist_ok=True)
    save_file(tensors, ASSETS / "musicnn.safetensors")
    with zipfile.ZipFile(wheel) as archive:
        licence = archive.read("musicnn-0.1.0.dist-info/LICENSE.md")
    (ASSETS / "musicnn.safetensors").chmod(0o644)
    (ASSETS / "LICENSE").write_bytes(licence)
    recipe = {
        "package": "musicnn 0.1.0",
        "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "model": "MTT_musicnn",
        "licence": "ISC",
        "paper": "Pons and Serra, musicnn: pre-trained convolutional neural networks for music "
        "audio tagging, ISMIR 2019 late-breaking",
        "trained_on": "MagnaTagATune",
        "sha256": hashlib.sha256((ASSETS / "musicnn.safetensors").read_bytes()).hexdigest(),
        "tensors": {k: [str(v.dtype), *v.shape] for k, v in sorted(tensors.items())},
        "made_with": {"tensorflow": tensorflow.__version__, "librosa": librosa.__version__},
    }
    (ASSETS / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n", "utf-8")


def _forward(stem: str, variables: dict[str, np.ndarray], windows: np.ndarray) -> np.ndarray:
    """The shipped graph's layer before the tags, with these variables; gradients are left out."""
    tf = tensorflow.compat.v1
    meta = tf.MetaGraphDef()
    meta.ParseFromString(Path(f"{stem}.meta").read_bytes())
    wanted = "model/batch_normalization_10/batchnorm/add_1"
    graph = tf.graph_util.extract_sub_graph(
        meta.graph_def, [wanted, *(f"{name}/Assign" for name in variables)]
    )
    with tf.Graph().as_default() as made, tf.Session() as session:
        tf.import_graph_def(graph, name="")
        for name, value in variables.items():
            assign = made.get_operation_by_name(f"{name}/Assign")
            session.run(assign, {assign.inputs[1]: value})
        places = [x.outputs[0] for x in made.get_operations() if x.type == "Placeholder"]
        fed = {x: False if x.dtype == tf.bool else windows for x in places}
        result: np.ndarray = session.run(f"{wanted}:0", fed)
        return result


def _half(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float16)


def _rounded(name: str, value: np.ndarray) -> np.ndarray:
    kernels = name.endswith("/kernel") and not name.startswith("dense_1")
    return _half(value).astype(np.float32) if kernels else value


def _suffix(number: int) -> str:
    return f"_{number}" if number else ""


if __name__ == "__main__":
    main()
