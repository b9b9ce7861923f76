"""The released model in plain tensor arithmetic, on the released key names; and random releases.

A second statement of the same facts, sharing no code with `songbloom.model`: one song, no cache, no
batch, no fused weights. S positions, D dim, P patch size, C latent channels.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

Weights = dict[str, Tensor]
_LYRICS = "condition_provider.conditioners.lyrics"


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def rotate(x: Tensor, dims: int, base: float) -> Tensor:
    """`x` [H, S, K]: dimensions i and i + dims / 2 as one complex number, turned by position."""
    half = dims // 2
    turns = torch.arange(x.shape[1])[:, None] * base ** (-torch.arange(half) / half)
    pairs = torch.complex(x[..., :half], x[..., half:dims])
    pairs = pairs * torch.polar(torch.ones_like(turns), turns)
    return torch.cat([pairs.real, pairs.imag, x[..., dims:]], dim=-1)


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, heads: int, dims: int, base: float, causal: bool
) -> Tensor:
    """`[S, D]` each -> `[S, D]`."""
    q, k, v = (x.view(len(x), heads, -1).transpose(0, 1) for x in (q, k, v))
    scores = rotate(q, dims, base) @ rotate(k, dims, base).transpose(1, 2) / q.shape[-1] ** 0.5
    if causal:
        later = torch.ones(scores.shape[1:]).triu(1).bool()
        scores = scores.masked_fill(later, -torch.inf)
    weights = torch.exp(scores - scores.amax(-1, keepdim=True))
    return (weights / weights.sum(-1, keepdim=True) @ v).transpose(0, 1).flatten(1)


@dataclass
class PlainRelease:
    """A release's weights (keys without `model.`), its yaml as a plain tree, and its symbols."""

    weights: Weights
    tree: dict[str, Any]
    symbols: list[str]

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = x @ self.weights[f"{name}.weight"].T
        return y + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else y

    # ------------------------------------------------------------ conditions

    def lyrics(self, phonemes: str) -> Tensor:
        table = self.weights[f"{_LYRICS}.output_proj.weight"]
        sentences = self.weights[f"{_LYRICS}.sentence_idx_in_structure_emb.weight"]
        settings = self.tree["model"]["condition_provider_cfg"]["lyrics"]
        structure, sentence, rows = 0, 1, []
        for symbol in phonemes.split(" "):
            if symbol not in self.symbols:
                continue
            token = self.symbols.index(symbol)
            if 1 <= token <= 7:
                structure, sentence = token, 1
                rows.append(2 * table[token])
            elif symbol == ".":
                rows.append(2 * table[token])
                sentence += 1
            elif symbol == ",":
                rows.append(2 * table[token])
            else:
                last = settings["max_sentence_per_structure"] - 1
                rows.append(table[token] + table[structure] + sentences[min(sentence, last)])
        rows = rows[: settings["max_len"]]
        rows += [torch.zeros(table.shape[1])] * (settings["max_len"] - len(rows))
        return torch.stack(rows)

    def prompt(self, latents: Tensor | None) -> Tensor:
        settings = self.tree["model"]["condition_provider_cfg"]["prompt_wav"]
        out = torch.zeros(settings["max_len"], self.tree["model"]["dim"])
        if latents is not None:
            name = "condition_provider.conditioners.prompt_wav.output_proj"
            heard = self.linear(name, latents[: settings["max_len"]])
            out[: len(heard)] = heard
        return out

    def prefix(self, phonemes: str, latents: Tensor | None) -> Tensor:
        return torch.cat([self.prompt(latents), self.lyrics(phonemes)])

    # ------------------------------------------------------------ transformers

    def transformer(self, x: Tensor) -> Tensor:
        """The AR transformer, `[S, D]` -> `[S, D]`."""
        settings = self.tree["model"]
        heads, base = settings["num_heads"], settings["rotary_base_val"]

        def norm(name: str, x: Tensor) -> Tensor:
            return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self.weights[name]

        for i in range(settings["lm_layers"]):
            at = f"ar_transformer.layers.{i}"
            y = norm(f"{at}.input_layernorm.weight", x)
            q, k, v = (self.linear(f"{at}.self_attn.{name}_proj", y) for name in "qkv")
            dims = x.shape[1] // heads
            y = attend(q, k, v, heads=heads, dims=dims, base=base, causal=True)
            x = x + self.linear(f"{at}.self_attn.o_proj", y)
            y = norm(f"{at}.post_attention_layernorm.weight", x)
            gate, up = (self.linear(f"{at}.mlp.{name}_proj", y) for name in ("gate", "up"))
            x = x + self.linear(f"{at}.mlp.down_proj", silu(gate) * up)
        return norm("ar_transformer.norm.weight", x)

    def dit(self, noisy: Tensor, t: Tensor, h: Tensor, s: Tensor, previous: Tensor) -> Tensor:
        """noisy, previous `[P, C]`, t a number, h `[D]`, s `[P, D]` -> velocity `[P, C]`."""
        settings = self.tree["model"]
        phase = 2 * torch.pi * t * self.weights["timestep_features.weight"][:, 0]
        time = self.linear("to_timestep_embed.0", torch.cat([phase.cos(), phase.sin()]))
        time = self.linear("to_timestep_embed.2", silu(time))
        audio = self.linear("project_in", torch.cat([previous, noisy]))
        x = torch.cat([time[None], h[None], s, audio])
        heads = settings["num_heads"]
        dims = max(settings["dim"] // heads // 2, 32)

        def norm(name: str, x: Tensor) -> Tensor:
            x = x - x.mean(-1, keepdim=True)
            gamma = self.weights[f"{name}.gamma"]
            return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gamma

        for i in range(settings["diff_layers"]):
            at = f"nar_dit.layers.{i}"
            qkv = self.linear(f"{at}.self_attn.to_qkv", norm(f"{at}.pre_norm", x))
            q, k, v = qkv.chunk(3, dim=-1)
            y = attend(q, k, v, heads=heads, dims=dims, base=20_000.0, causal=False)
            x = x + self.linear(f"{at}.self_attn.to_out", y)
            y = norm(f"{at}.ff_norm", x)
            up, gate = (self.linear(f"{at}.ff.ff.0.{name}_proj", y) for name in ("up", "gate"))
            x = x + self.linear(f"{at}.ff.ff.2", up * silu(gate))
        return self.linear("project_out", x[-len(noisy) :])

    def classify(self, x: Tensor) -> Tensor:
        return self.linear("skeleton_classifier.2", silu(self.linear("skeleton_classifier.0", x)))

    def summary(self, latents: Tensor) -> Tensor:
        return self.linear("block_conv.3", silu(self.linear("block_conv.1", latents.reshape(-1))))

    # ------------------------------------------------------------ sequences

    def sequence(self, prefix: Tensor, tokens: list[int], blocks: list[Tensor]) -> Tensor:
        size = self.tree["model"]["block_size"]
        rows = [*prefix, self.weights["bos_token"]]
        for i, token in enumerate(tokens):
            rows.append(self.weights["skeleton_emb.weight"][token])
            if (i + 1) % size == 0 and i // size < len(blocks):
                rows.append(self.summary(blocks[i // size]))
        return torch.stack(rows)

    def teacher_forced(
        self, prefix: Tensor, tokens: list[int], latents: Tensor, t: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of every frame and the one after, velocities `[N, P, C]`."""
        size = self.tree["model"]["block_size"]
        blocks = list(latents.split(size))
        outputs = self.transformer(self.sequence(prefix, tokens, blocks))[len(prefix) :]
        logits, velocities = [], []
        for position, output in enumerate(outputs):
            block = position // (size + 1)
            if position % (size + 1) != size:
                logits.append(self.classify(output))
                continue
            noisy = (1 - t[block]) * blocks[block] + t[block] * noise[block]
            s = self.weights["skeleton_emb.weight"][tokens[block * size : (block + 1) * size]]
            previous = blocks[block - 1] if block else torch.zeros_like(noisy)
            velocities.append(self.dit(noisy, t[block], output, s, previous))
        return torch.stack(logits), torch.stack(velocities)

    def generate(
        self, phonemes: str, prompt: Tensor, *, blocks: int, temperature: float, seed: int
    ) -> tuple[list[int], Tensor]:
        """Tokens and latents of at most `blocks` blocks, in the released order of draws."""
        stream = torch.Generator().manual_seed(seed)
        prefixes = [self.prefix(phonemes, prompt), self.prefix("", None)]
        size, codes = self.tree["model"]["block_size"], self.tree["model"]["num_pitch"]
        tokens: list[int] = []
        done: list[Tensor] = []
        while len(done) < blocks:
            for _ in range(size):
                tokens.append(self._token(prefixes, tokens, done, temperature, stream))
            if codes in tokens[-size:]:
                break
            h = self.transformer(self.sequence(prefixes[0], tokens, done))[-1]
            done.append(self._flow(h, tokens[-size:], done, stream))
        return tokens[: len(done) * size], torch.cat(done)

    def _token(
        self,
        prefixes: list[Tensor],
        tokens: list[int],
        done: list[Tensor],
        temperature: float,
        stream: torch.Generator,
    ) -> int:
        settings, eos = self.tree["inference"], self.tree["model"]["num_pitch"]
        conditional, null = (
            self.classify(self.transformer(self.sequence(prefix, tokens, done))[-1])
            for prefix in prefixes
        )
        logits = null + (conditional - null) * self._scales[0]
        if done and settings["penalty_repeat"]:
            for token in set(tokens[-settings["penalty_window"] :]) - {eos}:
                logits[token] = logits[token] / 1.1
        if temperature == 0:
            return int(logits.argmax())
        probs = torch.softmax(logits / temperature, dim=0)
        probs = torch.where(probs >= probs.sort().values[-settings["top_k"]], probs, 0.0)
        return int(torch.multinomial(probs / probs.sum(), 1, generator=stream))

    def _flow(
        self, h: Tensor, tokens: list[int], done: list[Tensor], stream: torch.Generator
    ) -> Tensor:
        settings = self.tree["inference"]
        noise = torch.randn(1, len(tokens), 64, generator=stream)[0]
        s = self.weights["skeleton_emb.weight"][tokens]
        previous = done[-1] if done else torch.zeros_like(noise)
        threshold = settings["diff_temp"]
        x = torch.zeros_like(noise) if threshold < 1 else noise
        times = torch.linspace(1, 0, settings["steps"] + 1)
        for t, after in zip(times[:-1], times[1:], strict=True):
            null = self.dit(x, t, 0 * h, 0 * s, previous)
            v = null + (self.dit(x, t, h, s, previous) - null) * self._scales[1]
            if t > threshold and after <= threshold:
                x = (1 - after) * (x - v) + after * noise
            else:
                x = x + (after - t) * v
        return x

    @property
    def _scales(self) -> tuple[float, float]:
        scale = self.tree["inference"]["cfg_coef"]
        return tuple(scale) if isinstance(scale, list) else (scale, scale)


def random_weights(model: dict[str, Any], lyrics: dict[str, Any], seed: int) -> Weights:
    """Random weights of the released names and shapes, large enough to tell tokens apart."""
    dim, codes = model["dim"], model["num_pitch"]
    inner, features = model.get("hidden_scale", 4) * dim, model["timestep_features_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "bos_token": (dim,),
        "condition_provider.conditioners.prompt_wav.output_proj.weight": (dim, 64),
        f"{_LYRICS}.blank_emb": (1, dim),
        f"{_LYRICS}.output_proj.weight": (330, dim),
        f"{_LYRICS}.sentence_idx_in_structure_emb.weight": (
            lyrics["max_sentence_per_structure"],
            dim,
        ),
        "skeleton_emb.weight": (codes + 2, dim),
        "ar_transformer.norm.weight": (dim,),
        "skeleton_classifier.0.weight": (dim, dim),
        "skeleton_classifier.2.weight": (codes + 1, dim),
        "skeleton_classifier.2.bias": (codes + 1,),
        "block_conv.1.weight": (dim, model["block_size"] * 64),
        "block_conv.1.bias": (dim,),
        "block_conv.3.weight": (dim, dim),
        "block_conv.3.bias": (dim,),
        "project_in.weight": (dim, 64),
        "project_in.bias": (dim,),
        "project_out.weight": (64, dim),
        "project_out.bias": (64,),
        "timestep_features.weight": (features // 2, 1),
        "to_timestep_embed.0.weight": (dim, features),
        "to_timestep_embed.2.weight": (dim, dim),
        "to_timestep_embed.2.bias": (dim,),
    }
    for i in range(model["lm_layers"]):
        at = f"ar_transformer.layers.{i}"
        shapes |= {f"{at}.self_attn.{x}_proj.weight": (dim, dim) for x in "qkvo"}
        shapes |= {f"{at}.mlp.{x}_proj.weight": (inner, dim) for x in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (dim, inner)
        shapes[f"{at}.input_layernorm.weight"] = (dim,)
        shapes[f"{at}.post_attention_layernorm.weight"] = (dim,)
    for i in range(model["diff_layers"]):
        at = f"nar_dit.layers.{i}"
        shapes |= {f"{at}.{n}.{p}": (dim,) for n in ("pre_norm", "ff_norm") for p in _NORM}
        shapes[f"{at}.self_attn.to_qkv.weight"] = (3 * dim, dim)
        shapes[f"{at}.self_attn.to_out.weight"] = (dim, dim)
        shapes |= {f"{at}.ff.ff.0.{x}_proj.weight": (inner, dim) for x in ("gate", "up")}
        shapes[f"{at}.ff.ff.2.weight"] = (dim, inner)
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, shape, generator) for name, shape in shapes.items()}


_NORM = ("gamma", "beta")


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    x = torch.randn(shape, generator=generator)
    if name.endswith(("beta", "blank_emb")):
        return torch.zeros(shape)
    if name.endswith(("norm.weight", "gamma")):
        return 1 + 0.2 * x
    scales = {"timestep_features.weight": 1.0, "skeleton_classifier.2.weight": 0.6}
    return x * scales.get(name, 0.07)


def make_release(
    mini: Path, folder: Path, *, model: dict[str, Any], **tables: dict[str, Any]
) -> PlainRelease:
    """Write a random release whose yaml differs from the miniature's in the given keys; its VAE
    and vocabulary are the miniature's. `tables` are inference, lyrics, prompt_wav."""
    folder.mkdir(parents=True)
    for name in ("stable_audio_1920_vae.json", "autoencoder_music_dsp1920.ckpt", "vocab_g2p.yaml"):
        shutil.copy(mini / name, folder / name)
    tree = yaml.safe_load((mini / "songbloom_mini.yaml").read_text("utf-8"))
    conditions = tree["model"]["condition_provider_cfg"]
    tree["model"].update(model)
    tree["inference"].update(tables.get("inference", {}))
    conditions["lyrics"].update(tables.get("lyrics", {}))
    conditions["prompt_wav"].update(tables.get("prompt_wav", {}))
    weights = random_weights(tree["model"], conditions["lyrics"], seed=7)
    torch.save({f"model.{k}": v for k, v in weights.items()}, folder / "songbloom_mini.pt")
    (folder / "songbloom_mini.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    symbols = yaml.safe_load((mini / "vocab_g2p.yaml").read_text("utf-8"))
    return PlainRelease(weights, tree, symbols)
