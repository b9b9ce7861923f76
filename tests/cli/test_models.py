"""import, pull, models, model show: models on this machine, and fetching them."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.fake_hub import FakeHub
from cli.helpers import Cli, Ran, assert_refused

from songbloom import hub
from songbloom.errors import MissingAssetError
from songbloom.model.config import PRESETS

REPO = "mirror/SongBloom"
PULL = "songbloom_full_150s"


@pytest.fixture
def release(release_mini: Path, tmp_path: Path) -> Path:
    """A copy of the miniature release that a test may spoil."""
    return Path(shutil.copytree(release_mini, tmp_path / "release"))


# ---------------------------------------------------------------- model show


def test_show_counts(cli: Cli) -> None:
    """The parts of every preset add up to its total, and the sizes to 4 and 2 bytes each."""
    for preset in PRESETS:
        shown = json.loads(cli("model", "show", preset, "--json").out)
        total = shown["total_parameters"]
        assert sum(shown["parameters"].values()) == total
        assert shown["bytes"] == {"float32": 4 * total, "bfloat16": 2 * total}


def test_show_for_people(cli: Cli) -> None:
    """The table has the same numbers, with separators."""
    shown = json.loads(cli("model", "show", "tiny", "--json").out)
    assert f"{shown['total_parameters']:,}" in cli("model", "show", "tiny").out


def test_show_unknown_preset(cli: Cli) -> None:
    """A misspelt preset is answered with the nearest one."""
    assert_refused(cli("model", "show", "ful"), 2, "ful", "'full'")


# ---------------------------------------------------------------- import, models


def test_import_installs_and_lists(cli: Cli, release: Path, home: Path) -> None:
    """An imported release is listed, found by name, and says its licence."""
    ran = cli("import", release, "--json")
    report = json.loads(ran.out)
    assert ran.code == 0
    folder = home.parent / "data" / "songbloom" / "models" / "release"
    assert Path(report["path"]) == folder
    listed = {m["name"]: m for m in json.loads(cli("models", "--json").out)["models"]}
    assert listed["release"]["parameters"] == report["parameters"]
    assert "academic" in listed["release"]["licence"]
    assert not listed["release"]["embedded"]
    assert "release" in cli("models").out
    assert hub.resolve("release", folder.parent) == folder


def test_import_to_a_folder(cli: Cli, release: Path, home: Path) -> None:
    """-o names the model folder; stdout is its path and notes go to stderr."""
    ran = cli("import", release, "-o", "mine")
    assert (ran.code, ran.out) == (0, "mine\n")
    assert "academic use only" in ran.err
    assert (home / "mine" / "model.json").is_file()
    assert_refused(cli("import", release, "-o", "mine"), 2, "mine", "--force")
    assert cli("import", release, "-o", "mine", "--force").code == 0


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        ("no folder", 4, ("no such folder",)),
        ("no yaml", 4, ("yaml",)),
        ("yaml lacks a key", 1, ("songbloom_mini.yaml", "lm_layers")),
        ("truncated", 1, ("songbloom_mini.pt", "truncated")),
        ("code in a pickle", 1, ("songbloom_mini.pt", "code")),
        ("text as weights", 1, ("songbloom_mini.pt",)),
        ("empty weights", 1, ("songbloom_mini.pt",)),
        ("no vocabulary", 1, ("vocab_g2p.yaml",)),
        ("no vae", 1, ("autoencoder_music_dsp1920.ckpt",)),
        ("vae config is no JSON", 1, ("stable_audio_1920_vae.json",)),
    ],
)
def test_import_refuses(
    cli: Cli, release: Path, home: Path, spoil: str, code: int, words: tuple[str, ...]
) -> None:
    """A spoilt release is refused by the file's name, runs no code and leaves no model folder."""
    weights = release / "songbloom_mini.pt"
    if spoil == "no folder":
        shutil.rmtree(release)
    elif spoil == "no yaml":
        (release / "songbloom_mini.yaml").unlink()
    elif spoil == "yaml lacks a key":
        yaml = release / "songbloom_mini.yaml"
        lines = [line for line in yaml.read_text().splitlines() if "lm_layers" not in line]
        yaml.write_text("\n".join(lines))
    elif spoil == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif spoil == "code in a pickle":
        weights.write_bytes(pickle.dumps({"x": _Code(home / "executed")}))
    elif spoil == "text as weights":
        weights.write_text("not weights")
    elif spoil == "empty weights":
        weights.write_bytes(b"")
    elif spoil == "no vocabulary":
        (release / "vocab_g2p.yaml").unlink()
    elif spoil == "no vae":
        (release / "autoencoder_music_dsp1920.ckpt").unlink()
    elif spoil == "vae config is no JSON":
        (release / "stable_audio_1920_vae.json").write_text("{")
    ran = cli("import", release, "-o", "mine")
    assert_refused(ran, ran.code, *words)
    assert ran.code == code or (code == 1 and ran.code == 4)  # a missing file is a missing asset
    assert not (home / "mine" / "model.json").exists()
    assert not (home / "executed").exists()


class _Code:
    """A pickle of this creates a file when it is loaded carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self.path),)


def test_broken_model_is_listed_as_such(cli: Cli, home: Path) -> None:
    """A model folder whose model.json is no JSON does not break the list."""
    folder = home.parent / "data" / "songbloom" / "models" / "bad"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{")
    listed = {m["name"]: m for m in json.loads(cli("models", "--json").out)["models"]}
    assert listed["bad"]["kind"] == "broken"
    assert "broken" in cli("models").out


def test_models_folder_is_configurable(cli: Cli, home: Path, mini_folder: Path) -> None:
    """[models] folder is where models are looked for."""
    (home / "songbloom.toml").write_text(f'[models]\nfolder = "{mini_folder.parent}"\n')
    listed = json.loads(cli("models", "--json").out)["models"]
    assert str(mini_folder) in [model["path"] for model in listed]


def test_resolve(tmp_path: Path, mini_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names win over folders here, ./ names a folder, and a name that is nothing is explained."""
    monkeypatch.setattr(hub, "EMBEDDED_FOLDER", mini_folder.parent)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(mini_folder, tmp_path / "mini")
    assert hub.resolve("mini", tmp_path / "none") == mini_folder
    assert hub.resolve("./mini", tmp_path / "none") == Path("mini")
    assert hub.resolve(str(mini_folder), tmp_path) == mini_folder
    with pytest.raises(MissingAssetError) as caught:
        hub.resolve("mono", tmp_path / "none")
    assert "mini" in caught.value.hint and "songbloom pull" in caught.value.hint
    with pytest.raises(MissingAssetError) as caught:
        hub.resolve(PULL, tmp_path / "none")
    assert f"songbloom pull {PULL}" in caught.value.hint


# ---------------------------------------------------------------- pull


@pytest.fixture
def fake_hub(release_mini: Path) -> Iterator[FakeHub]:
    """A hub that serves the miniature release under a release's name."""
    content = {path.name: path.read_bytes() for path in release_mini.iterdir()}
    yaml = content.pop("songbloom_mini.yaml").replace(b"songbloom_mini.pt", f"{PULL}.pt".encode())
    files = {(REPO, f"{PULL}.yaml"): yaml, (REPO, f"{PULL}.pt"): content.pop("songbloom_mini.pt")}
    files |= {("shared/Files", name): content[name] for name in hub.SHARED_FILES}
    served = FakeHub(files)
    yield served
    served.close()


def pull(fake: FakeHub, home: Path, *args: str, repo: str = REPO) -> Ran:
    """`songbloom pull` in a process of its own, since the hub's address is read at import."""
    (home / "songbloom.toml").write_text(
        f'[hub]\n{PULL} = "{repo}"\nvae = "shared/Files"\n[models]\nfolder = "models"\n'
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": fake.url,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-m", "songbloom_cli", "pull", *args]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=home)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def test_pull_asks_for_the_licence(cli: Cli, home: Path) -> None:
    """Without --accept-licence: exit 4, the licence in a line, what to type; nothing is fetched."""
    ran = cli("pull", PULL)
    assert_refused(ran, 4, "academic use only", f"songbloom pull {PULL} --accept-licence")
    assert not (home.parent / "data").exists()


def test_pull_unknown_name(cli: Cli) -> None:
    """A name that is no release is answered with those that are."""
    assert_refused(cli("pull", "songbloom_full"), 4, "songbloom_full_240s")


def test_pull_fetches_and_imports(cli: Cli, home: Path, fake_hub: FakeHub) -> None:
    """Own files come from the release's repository, shared ones from theirs; then it is listed."""
    pytest.importorskip("huggingface_hub")
    ran = pull(fake_hub, home, PULL, "--accept-licence")
    assert (ran.code, ran.out) == (0, f"models/{PULL}\n"), ran.err
    wanted = {(REPO, f"{PULL}.yaml"), (REPO, f"{PULL}.pt")}
    wanted |= {("shared/Files", name) for name in hub.SHARED_FILES}
    assert {(repo, file) for repo, _, file in fake_hub.asked} == wanted
    names = [model["name"] for model in json.loads(cli("models", "--json").out)["models"]]
    assert PULL in names
    assert [p.name for p in (home / "models").iterdir()] == [PULL], "no leftovers"
    before = len(fake_hub.asked)
    assert pull(fake_hub, home, PULL).code == 0, "a second pull finds it there"
    assert len(fake_hub.asked) == before


def test_pull_goes_on_after_a_missing_file(home: Path, fake_hub: FakeHub) -> None:
    """A file that is not there is named; once it is, the same command fetches only what is left."""
    pytest.importorskip("huggingface_hub")
    kept = fake_hub.files.pop(("shared/Files", "vocab_g2p.yaml"))
    ran = pull(fake_hub, home, PULL, "--accept-licence", "-q")
    assert_refused(ran, 4, "shared/Files", "vocab_g2p.yaml", "[hub]")
    assert not (home / "models" / PULL).exists()
    fake_hub.files["shared/Files", "vocab_g2p.yaml"] = kept
    fake_hub.asked.clear()
    assert pull(fake_hub, home, PULL, "--accept-licence").code == 0
    assert [file for _, _, file in fake_hub.asked] == ["vocab_g2p.yaml"]


def test_pull_revision(home: Path, fake_hub: FakeHub) -> None:
    """--revision is asked of the release's repository alone; one that is not there is named."""
    pytest.importorskip("huggingface_hub")
    assert pull(fake_hub, home, PULL, "--accept-licence", "--revision", "v1").code == 0
    ran = pull(fake_hub, home, PULL, "--accept-licence", "--revision", "v9", "-q")
    assert ran.code == 0, "installed already"
    shutil.rmtree(home / "models")
    ran = pull(fake_hub, home, PULL, "--accept-licence", "--revision", "v9", "-q")
    assert_refused(ran, 4, REPO, "v9", "--revision")


@pytest.mark.parametrize("repo", ["no/such", "not a name"])
def test_pull_from_nowhere(home: Path, fake_hub: FakeHub, repo: str) -> None:
    """A repository that is not there, or cannot be one, is named with where to change it."""
    pytest.importorskip("huggingface_hub")
    ran = pull(fake_hub, home, PULL, "--accept-licence", "-q", repo=repo)
    assert_refused(ran, 4, repo, "[hub]")


def test_pull_without_network(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that does not answer, or breaks off: exit 1, which file, and to type it again.

    The one downloading function is replaced here: the hub client waits half a minute by itself.
    """
    huggingface_hub = pytest.importorskip("huggingface_hub")
    errors = pytest.importorskip("huggingface_hub.errors")
    for error, word in (
        (errors.LocalEntryNotFoundError("no connection"), "cannot be reached"),
        (ConnectionResetError(104, "Connection reset by peer"), f"{PULL}.yaml"),
    ):

        def fail(*args: object, raised: Exception = error, **options: object) -> None:
            raise raised

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        assert_refused(cli("pull", PULL, "--accept-licence", "-q"), 1, word, "same again")


def test_pull_without_the_extra(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without huggingface_hub the extra to install is named."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    ran = cli("-q", "pull", PULL, "--accept-licence")
    assert_refused(ran, 4, "huggingface_hub", "pip install 'songbloom[hub]'")


def test_pull_json_events(home: Path, fake_hub: FakeHub) -> None:
    """--json: an event a line on stdout, the last one says where the model is."""
    pytest.importorskip("huggingface_hub")
    ran = pull(fake_hub, home, PULL, "--accept-licence", "--json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [e["event"] for e in events] == ["fetch"] * 5 + ["done"]
    assert events[-1]["path"] == f"models/{PULL}"
