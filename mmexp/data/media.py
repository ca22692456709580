"""Recordings and videos, decoded without a program on the machine: soundfile and PyAV bring their own decoders."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmexp.schema import ConfigError


@dataclass
class Media:
    """How recordings and videos are decoded, whatever they are stored as."""

    sampling_rate: int = 16000
    """Samples per second that recordings are resampled to: what the model was trained with. 48000 for CLAP."""

    video_fps: float = 2.0
    """Frames per second that are taken of a video."""

    video_max_frames: int = 64
    """Most frames of a video. Of a longer one, fewer are taken per second, over its whole length."""

    def __post_init__(self) -> None:
        for key in ("sampling_rate", "video_fps", "video_max_frames"):
            if (value := getattr(self, key)) <= 0:
                raise ConfigError(f"data.media.{key}={value} is not above 0. Use a positive number.")

    def decoder(self, column: str, feature: Any) -> Callable[[bytes], dict[str, Any]] | None:
        """What decodes the cells of a column of that feature of `datasets`. None where the feature itself does.

        Raises `ConfigError` where a library for it is missing.
        """
        from datasets import Audio, Video

        decoders: dict[type, tuple[str, str, Callable[[bytes], dict[str, Any]]]] = {
            Audio: ("audio", "soundfile", self.decode_audio),
            Video: ("video", "av", self.decode_video),
        }
        if type(feature) not in decoders:
            return None
        kind, library, decode = decoders[type(feature)]
        if importlib.util.find_spec(library) is None:
            raise ConfigError(
                f"column {column!r} holds {kind}, and the library {library}, which decodes it, is not installed. "
                f"Install it with: pip install 'mmexp[{kind}]'"
            )
        return decode

    def decode_audio(self, encoded: bytes) -> dict[str, Any]:
        """One channel of float32 samples at `sampling_rate`. Raises `ValueError` for what is no recording."""
        import soundfile

        try:
            channels, rate = soundfile.read(io.BytesIO(encoded), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(str(error)) from error
        return {"array": self._resampled(channels.mean(axis=1), rate), "sampling_rate": self.sampling_rate}

    def _resampled(self, samples: Any, rate: int) -> Any:
        if rate == self.sampling_rate:
            return samples
        from scipy.signal import resample_poly

        divisor = math.gcd(self.sampling_rate, rate)
        return resample_poly(samples, self.sampling_rate // divisor, rate // divisor).astype("float32")

    def decode_video(self, encoded: bytes) -> dict[str, Any]:
        """Frames as bytes (frames, 3, height, width), evenly spaced. Raises `ValueError` for what is no video."""
        import av
        import numpy as np

        frames: list[Any] = []
        try:
            with av.open(io.BytesIO(encoded), mode="r") as container:
                length = (container.duration or 0) / av.time_base
                step = max(1 / self.video_fps, length / self.video_max_frames)
                first = None
                for frame in container.decode(video=0):
                    first = frame.time if first is None else first
                    if frame.time - first >= len(frames) * step - 1e-6:
                        frames.append(frame.to_ndarray(format="rgb24").transpose(2, 0, 1))
                    if len(frames) == self.video_max_frames:
                        break
        except (av.FFmpegError, IndexError) as error:
            raise ValueError(f"{error or 'it has no video stream'}") from error
        if not frames:
            raise ValueError("it has no frames")
        metadata = {
            "fps": 1 / step,
            "total_num_frames": len(frames),
            "duration": len(frames) * step,
            "frames_indices": list(range(len(frames))),
        }
        return {"array": np.stack(frames), "video_metadata": metadata}


def encoded_bytes(cell: dict[str, Any]) -> bytes:
    """The bytes of an undecoded cell, which lie in it or in a file of their own."""
    return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
