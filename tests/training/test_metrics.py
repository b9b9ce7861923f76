"""A run's own record: rows that survive resumes and kills, readers' formats, speed."""

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from songbloom.errors import MissingAssetError
from songbloom.model.config import preset
from songbloom.training import metrics
from songbloom.training.metrics import (
    FILE_NAME,
    TIME_FIELDS,
    MetricsLog,
    read_metrics,
    throughput,
)
from songbloom.training.planner import flops, sequence_length


def row(step: int) -> dict[str, float]:
    return {"loss": 1 / 3 / step, "step": step, "seconds": 0.1}


def write(run: Path, first: int, last: int, **options: Any) -> None:
    log = MetricsLog(run, step=first - 1, tensorboard=False, **options)
    for step in range(first, last + 1):
        log.write(row(step))
    log.close()


def test_a_resumed_log_is_an_undisturbed_one(tmp_path: Path) -> None:
    """Rows beyond the step that a run resumes from are cut off: the bytes are those of a run that
    never stopped."""
    write(tmp_path / "whole", 1, 9)
    write(tmp_path / "killed", 1, 7)
    write(tmp_path / "killed", 5, 9)
    assert (tmp_path / "killed" / FILE_NAME).read_bytes() == (
        tmp_path / "whole" / FILE_NAME
    ).read_bytes()


@pytest.mark.parametrize("torn", [b'{"step": 4, "lo', b'{"step": 4}', b"\0\0\n", b"[1]\n"])
def test_a_torn_row_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    """Whatever a kill left of a last row neither stops the resume nor stays."""
    write(tmp_path, 1, 3)
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2, 3]
    write(tmp_path, 4, 3)
    assert path.read_bytes() == whole


def test_a_new_run_begins_with_an_empty_log(tmp_path: Path) -> None:
    """Starting from step 0 leaves nothing of an earlier try; without a log there are no rows."""
    assert list(read_metrics(tmp_path)) == []
    write(tmp_path, 1, 5)
    write(tmp_path, 1, 2)
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2]


def test_numbers_come_back_exactly(tmp_path: Path) -> None:
    """Floats are written to the last bit, the step first; what is not finite is null."""
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write({"loss": 1 / 3, "step": 1, "grad_norm": float("inf")})
    log.sync()
    text = (tmp_path / FILE_NAME).read_text()
    log.close()
    log.close()
    assert text.startswith('{"step": 1,')
    assert json.loads(text) == {"step": 1, "loss": 1 / 3, "grad_norm": None}


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    """Only rank 0 leaves files."""
    write(tmp_path, 1, 3, rank=1)
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_reads_the_rows(tmp_path: Path) -> None:
    """Event files hold every field at its step, and after a resume no step twice."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first, last in ((1, 4), (3, 5)):
        log = MetricsLog(tmp_path, step=first - 1, tensorboard=True)
        for step in range(first, last + 1):
            log.write(row(step))
        log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5]
    assert events.Scalars("loss")[2].value == pytest.approx(1 / 9)


def test_without_tensorboard_only_an_insistent_run_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default its absence is no error; asked for, the extra is named; so it is for W&B."""
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None)
    MetricsLog(tmp_path).close()
    with pytest.raises(MissingAssetError) as caught:
        MetricsLog(tmp_path, tensorboard=True)
    assert "songbloom[tensorboard]" in caught.value.hint
    with pytest.raises(MissingAssetError) as caught:
        MetricsLog(tmp_path, wandb_project="songs")
    assert "songbloom[wandb]" in caught.value.hint


def test_wandb_goes_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run logs to the id it began with, with our steps as the axis."""
    opened: list[dict[str, Any]] = []
    logged: list[dict[str, float]] = []
    service = types.SimpleNamespace(
        log=logged.append, finish=lambda: None, define_metric=lambda name, step_metric: None
    )

    def init(**options: Any) -> Any:
        opened.append(options)
        return service

    ids = iter(("first", "second"))
    wandb = types.SimpleNamespace(
        init=init,
        util=types.SimpleNamespace(generate_id=lambda: next(ids)),
        errors=types.SimpleNamespace(Error=RuntimeError),
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)  # type: ignore[arg-type]
    found = importlib.util.find_spec
    monkeypatch.setattr(
        metrics.importlib.util, "find_spec", lambda n: object() if n == "wandb" else found(n)
    )
    write(tmp_path, 1, 1, wandb_project="songs")
    write(tmp_path, 2, 2, wandb_project="songs")
    assert [(o["id"], o["project"], o["resume"]) for o in opened] == [
        ("first", "songs", "allow"),
        ("first", "songs", "allow"),
    ]
    assert [entry["step"] for entry in logged] == [1, 2]


def test_speed_is_work_over_time() -> None:
    """Throughput counts unpadded audio, the sketch transformer's positions, and model FLOPs."""
    model = preset("nano")
    speed = throughput(
        model, seconds=2.0, shapes=[(3, 96), (1, 32)], frames=500, world_size=4, peak_tflops=0.001
    )
    assert tuple(speed) == TIME_FIELDS
    assert speed["audio_seconds_per_second"] == 500 / 25 / 2
    tokens = 3 * sequence_length(model, 96) + sequence_length(model, 32)
    assert speed["tokens_per_second"] == 4 * tokens / 2
    work = 3 * flops(model, 96).training() + flops(model, 32).training()
    assert speed["mfu"] == pytest.approx(work / (2.0 * 1e9))
    assert "mfu" not in throughput(model, seconds=1.0, shapes=[(1, 32)], frames=32)
