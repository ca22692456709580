"""Recordings and videos in the Hub's layout: decoded without FFmpeg on the machine, trained on, evaluated."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from mmexp.data.cells import BadPage
from mmexp.data.hub_columns import HubColumns
from mmexp.data.media import Media
from mmexp.schema import ConfigError
from tests.conftest import write_readme
from tests.models import tiny_checkpoints as tiny
from tests.test_run import BARE, QUICK, losses_of, run_in

RATE = 8000


def wav(number: int, seconds: float = 0.5, rate: int = RATE, channels: int = 2) -> bytes:
    """A tone of its own for each number."""
    import soundfile

    tone = 0.5 * np.sin(2 * math.pi * (200 + 40 * number) * np.arange(int(seconds * rate)) / rate)
    soundfile.write(buffer := io.BytesIO(), np.stack([tone] * channels, axis=1), rate, format="WAV")
    return buffer.getvalue()


def mp4(number: int, seconds: float = 2.0, fps: int = 10) -> bytes:
    """A video that grows brighter, in a color of its own for each number."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for n in range(int(seconds * fps)):
            frame = np.full((64, 64, 3), 10 * n, dtype=np.uint8)
            frame[:, :32, number % 3] = 25 * number % 256
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def write_data(folder: Path, column: str, cells: list[bytes]) -> Path:
    """(text, audio) or (text, video), as the Hub keeps it: encoded bytes under a feature that decodes them."""
    from datasets import Audio, Dataset, Value, Video

    (folder / "data").mkdir(parents=True)
    dataset = Dataset.from_dict(
        {
            "query": [f"what is number {n}" for n in range(len(cells))],
            column: [{"bytes": cell, "path": f"{n}.{column}"} for n, cell in enumerate(cells)],
        }
    )
    features = dataset.features.copy()
    features["query"], features[column] = Value("string"), {"audio": Audio(), "video": Video()}[column]
    dataset.cast(features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    write_readme(folder, ["data"])
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("audio"), "audio", [wav(n) for n in range(12)])


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("video"), "video", [mp4(n) for n in range(12)])


def documents_of(path: Path, column: str, **media):
    data = HubColumns(path=str(path), positive_column=column, num_negatives=0, media=Media(**media))
    return data.read()[0].documents


def test_a_recording_becomes_one_channel_at_the_sampling_rate_that_is_asked_for(recordings):
    from datasets import Audio

    documents = documents_of(recordings, "audio", sampling_rate=16000)
    cell = pickle.loads(pickle.dumps(documents))[3]
    assert (cell["sampling_rate"], cell["array"].shape, cell["array"].dtype) == (16000, (8000,), np.float32)
    assert np.abs(np.fft.rfft(cell["array"])).argmax() * 16000 / 8000 == pytest.approx(200 + 40 * 3, abs=2)
    assert isinstance(documents._views["audio"].features["audio"], Audio)
    same = documents_of(recordings, "audio", sampling_rate=RATE)
    assert same[3]["array"].shape == (4000,)
    assert same.digest(3) != documents.digest(3)
    assert bytes(same.encoded(3)) == bytes(documents.encoded(3)) == wav(3)


@pytest.mark.parametrize(
    ("media", "count", "fps"), [({}, 4, 2), ({"video_fps": 5}, 10, 5), ({"video_max_frames": 2}, 2, 1)]
)
def test_a_video_becomes_evenly_spaced_frames(videos, media, count, fps):
    cell = documents_of(videos, "video", **media)[1]
    assert cell["array"].shape == (count, 3, 64, 64)
    assert cell["video_metadata"]["fps"] == pytest.approx(fps)
    assert cell["video_metadata"]["total_num_frames"] == count
    brightness = cell["array"][:, :, :, 40:].mean(axis=(1, 2, 3))
    assert brightness == pytest.approx([10 * n * 10 / fps for n in range(count)], abs=8)


@pytest.mark.parametrize(("column", "good"), [("audio", wav(0)), ("video", mp4(0))])
def test_what_cannot_be_decoded_is_named_or_left_out(column, good, tmp_path):
    encoded = [b"no " + column.encode(), *[good[:-1] + bytes([n]) for n in range(3)], b""]
    path = write_data(tmp_path, column, encoded)
    documents = documents_of(path, column)
    for index in (0, 4):
        with pytest.raises(BadPage, match=rf"page 'train/{index}/{column}' cannot be decoded.*data\.on_bad_page=skip"):
            documents[index]
    from mmexp.data import OnBadPage

    skipping = HubColumns(
        path=str(path), positive_column=column, num_negatives=0, num_eval_queries=1, on_bad_page=OnBadPage.skip
    ).build()
    assert skipping.skipped_pages == [f"train/0/{column}", f"train/4/{column}"]


def test_a_missing_library_is_named_when_the_data_is_opened(recordings, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"'audio' holds audio, and the library soundfile.*pip install 'mmexp\[audio\]'"
    ):
        documents_of(recordings, "audio")


def test_settings_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"data\.media\.video_fps=0 is not above 0"):
        Media(video_fps=0)


def run_on(folder: Path, path: Path, column: str, make, *more: str) -> dict:
    make(folder / "checkpoint")
    return run_in(
        folder,
        "data=hub_columns",
        f"data.path={path}",
        f"data.positive_column={column}",
        "data.num_negatives=0",
        "data.num_eval_queries=4",
        "model=hub",
        f"model.checkpoint={folder / 'checkpoint'}",
        *QUICK,
        *BARE,
        *more,
    )


@pytest.mark.parametrize(
    ("column", "make", "more"),
    [
        ("audio", tiny.clap, ["data.media.sampling_rate=48000"]),
        ("audio", tiny.qwen2_5_omni, ["loss.mini_batch_num_tokens=1"]),
        ("video", tiny.qwen3_vl, ["loss.mini_batch_num_tokens=1"]),
        ("video", tiny.qwen2_5_omni, []),
    ],
)
def test_text_and_media_train_and_evaluate(column, make, more, recordings, videos, tmp_path):
    result = run_on(tmp_path, recordings if column == "audio" else videos, column, make, *more)
    assert result["status"] == "finished"
    assert column in result["model"]["modalities"]
    assert (result["num_queries"], result["num_documents"]) == (4, 4)
    assert all(math.isfinite(loss) and loss > 0 for _, loss in losses_of(tmp_path / "run"))
    assert result["throughput"]["pages_per_second"] == pytest.approx(result["throughput"]["samples_per_second"])


def test_a_model_that_does_not_take_the_modality_or_its_rate_says_so_in_one_line(recordings, videos, tmp_path):
    with pytest.raises(
        ConfigError, match=r"Qwen3VLModel\) cannot take the document .*, which is audio: it takes text, im"
    ):
        run_on(tmp_path / "a", recordings, "audio", tiny.qwen3_vl)
    with pytest.raises(
        ConfigError, match=r"\(ClapModel\) cannot take the document .*, which is video: it takes text, au"
    ):
        run_on(tmp_path / "b", videos, "video", tiny.clap)
    with pytest.raises(
        ConfigError, match=r"\(ClapModel\) takes recordings of 48000 .*Use data\.media\.sampling_rate=48000"
    ):
        run_on(tmp_path / "c", recordings, "audio", tiny.clap)
