"""How `mini` was trained on, on one GPU within a quarter of an hour (docs/LOG.md has the figures).

    python runs/mini_gpu.py pack DATA PACK    # anywhere: real clips and speech, made small
    python runs/mini_gpu.py make FACEKIT WORK # speaks, then renders until there is WORK/stop
    python runs/mini_gpu.py train PACK WORK OUT --seconds 540

DATA holds clips/train/ and speech/train/, as for runs/mini.sh. `make` keeps the processors busy
while `train` keeps the GPU busy: the voice encoder first, then windows, then the student, each for
a share of the time. OUT gets weights in half precision, in parts, and the logs. Needs soundfile.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import pickle
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soundfile
import torch
from safetensors.torch import load_file, save_file

from omnisync_core.audio import SAMPLE_RATE
from omnisync_core.checkpoint import load_model, save_model
from omnisync_core.config import preset
from omnisync_core.training import voice
from omnisync_core.training.batch import TrainOptions
from omnisync_core.training.grow import grow
from omnisync_core.training.pairs import save_shard
from omnisync_core.training.prepare import HELD_OUT, hear, load_pools, render_shard
from omnisync_core.training.sounds import Utterance
from omnisync_core.training.train import Trainer

_FOLDERS = 8  # of training data, heard by as many processes
_CODECS = (("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS"), ("OGG", "VORBIS"))


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _coded(sound: np.ndarray, kind: tuple[str, str] = _CODECS[1], level: float = 0.9) -> bytes:
    held = io.BytesIO()
    soundfile.write(
        held, sound, SAMPLE_RATE, format=kind[0], subtype=kind[1], compression_level=level
    )
    return held.getvalue()


def _decoded(data: bytes, samples: int) -> np.ndarray:
    sound = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    return np.resize(np.pad(sound, (0, max(0, samples - len(sound)))), samples)


def pack(data: Path, out: Path) -> None:
    """Real speech with its labels, GRID's sounds, lips and packed crops, for little room."""
    from imageio_ffmpeg import get_ffmpeg_exe

    from omnisync_core.training.align import read_speech
    from omnisync_core.training.real import pack_folder, packed_side

    ffmpeg = get_ffmpeg_exe()
    out.mkdir(parents=True, exist_ok=True)
    said = [voice.from_phones(*one) for one in read_speech(data / "speech/train")]
    corpora = {}
    for name in HELD_OUT:
        corpora[name] = voice.grid_utterances(data / "clips/train" / name)
    rows: dict[str, list] = {"speech": said, **{k: list(v.values()) for k, v in corpora.items()}}
    for name, utterances in rows.items():
        rows[name] = [
            (
                _coded(u.waveform),
                len(u.waveform),
                u.articulators.astype(np.float16),
                u.visemes.astype(np.int8),
                u.lips.astype(np.float16),
            )
            for u in utterances
        ]
    (out / "voices.pkl.gz").write_bytes(gzip.compress(pickle.dumps(rows)))
    for name, found in corpora.items():
        chosen = list(found)[HELD_OUT[name] :][:270]
        landmarks = {}
        for clip in pack_folder(
            data / "clips/train" / name, names=chosen, side=packed_side(preset("mini").crop)
        ):
            film = out / f"{name}-{clip.name}.mp4"
            size = f"{clip.crops.shape[2]}x{clip.crops.shape[1]}"
            how = f"-f rawvideo -pix_fmt rgb24 -s {size} -r 25 -i - -c:v libx264 -crf 16"
            command = [ffmpeg, "-y", "-v", "error", *how.split(), "-pix_fmt", "yuv420p", str(film)]
            subprocess.run(command, input=clip.crops.tobytes(), check=True)
            points = np.round(clip.landmarks * 32).astype(np.int16)
            landmarks[clip.name] = np.diff(points, axis=0, prepend=0).astype(np.int16)
        np.savez_compressed(out / f"{name}.npz", **landmarks)


def unpack_films(source: Path, out: Path) -> None:
    """The packed crops and sounds of GRID, as `omnisync prepare` writes them."""
    rows = pickle.loads(gzip.decompress((source / "voices.pkl.gz").read_bytes()))
    for name, held in HELD_OUT.items():
        landmarks = np.load(source / f"{name}.npz")
        crops = []
        for clip in landmarks.files:
            film = cv2.VideoCapture(str(source / f"{name}-{clip}.mp4"))
            frames = []
            while (read := film.read())[0]:
                frames.append(read[1][..., ::-1])
            crops.append(np.stack(frames))
        steps = np.stack([landmarks[clip].astype(np.float32) / 32 for clip in landmarks.files])
        save_shard(
            out / f"real_{name}",
            {
                "names": np.array(landmarks.files),
                "crops": np.stack(crops),
                "landmarks": steps.cumsum(1),
            },
        )
        coded = rows[name][held:]
        sounds: dict[str, Any] = {
            clip: np.round(_decoded(*one[:2]) * 32767).astype(np.int16)
            for clip, one in zip(landmarks.files, coded, strict=False)
        }
        np.savez(out / f"sounds_{name}.npz", **sounds)


def _utterances(source: Path) -> dict[str, list[Utterance]]:
    rows = pickle.loads(gzip.decompress((source / "voices.pkl.gz").read_bytes()))
    return {
        name: [
            Utterance(
                _decoded(data, samples),
                a.astype(np.float32),
                v.astype(np.int64),
                lips.astype(np.float32),
            )
            for data, samples, a, v, lips in coded
        ]
        for name, coded in rows.items()
    }


def _say(work: Path, seed: int, count: int) -> None:
    """Synthesised utterances, three in ten through a codec, fifty to a file."""
    rng = np.random.default_rng(seed)
    for part in range(-(-count // 50)):
        said = []
        for _ in range(50):
            waveform, phones = voice.synthesise_utterance(rng)
            if len(waveform) <= SAMPLE_RATE:
                continue
            if rng.random() < 0.3:
                kind = _CODECS[rng.integers(len(_CODECS))]
                waveform = _decoded(_coded(waveform, kind, rng.uniform(0.7, 1)), len(waveform))
            said.append(voice.from_phones(waveform, phones))
        path = work / f"said_{seed}_{part}"
        path.write_bytes(pickle.dumps(said))
        path.rename(path.with_suffix(".pkl"))


def _maker(facekit: Path, work: Path, number: int, utterances: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _say(work, 7_000 + number, utterances)
    os.nice(5)
    seed, making = 40_000 + 1_000 * number, work / f"making_{number}"
    (work / "ready").mkdir(exist_ok=True)
    while not (work / "stop").exists():
        render_shard(facekit, making, seed=seed, clips=40, size=144)
        for path in sorted(making.iterdir(), reverse=True):  # sounds_* before rendered_*
            path.rename(work / "ready" / path.name)
        seed += 1


def make(facekit: Path, work: Path, *, processes: int, utterances: int) -> None:
    """Speak, then render, with that many processes."""
    work.mkdir(parents=True, exist_ok=True)
    context = get_context("spawn")
    share = -(-utterances // processes)
    makers = [
        context.Process(target=_maker, args=(facekit, work, number, share))
        for number in range(processes)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()


def _folders(work: Path) -> list[Path]:
    """Where training data lies."""
    folders = [work / f"d{i}" for i in range(_FOLDERS)] + [work / "real"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    return folders


def _hear_all(work: Path, weights: Path) -> None:
    """Take in what is ready, and make tokens for every sound that has none yet."""
    context, folders = get_context("spawn"), _folders(work)
    for i, shard in enumerate(sorted((work / "ready").glob("rendered_*"))):
        sounds = f"sounds_tts_{shard.name.removeprefix('rendered_')}.npz"
        for path in (shard.with_name(sounds), shard):
            path.rename(folders[i % _FOLDERS] / path.name)
    ears = [context.Process(target=hear, args=(folder, weights)) for folder in folders]
    for ear in ears:
        ear.start()
    for ear in ears:
        ear.join()


class _Timed(Trainer):
    """A Trainer whose rate falls with the time that is left, not with the steps."""

    begun, seconds = 0.0, 1.0

    def _share_of_peak(self) -> float:
        left = 1 - (time.monotonic() - self.begun) / self.seconds
        return min(1.0, (self.step + 1) / 100) * min(1.0, max(0.03, left * 2))

    def train_for(self, seconds: float) -> None:
        self.begun, self.seconds, seen = time.monotonic(), seconds, []
        self.accelerator.init_trackers("tensorboard")
        for windows in self._coming():
            seen.append(self._one_step(windows))
            spent = time.monotonic() - self.begun
            if self.step % 100 == 0:
                self._log(seen, minutes=spent / 60)
                seen = []
                _tell(f"{self.run.name} {self.step} {spent:.1f} s")
            if spent > seconds:
                break
        self.save()


def _ship(model: Path, out: Path, name: str) -> None:
    """The weights in half precision, in parts of 15 MB: NAME.safetensors.0 and so on."""
    save_model(load_model(model).half(), model.with_name("half.safetensors"))
    data = model.with_name("half.safetensors").read_bytes()
    for part, first in enumerate(range(0, len(data), 15_000_000)):
        (out / f"{name}.safetensors.{part}").write_bytes(data[first : first + 15_000_000])


def _stage(work: Path, weights: Path, name: str, options: TrainOptions, seconds: float) -> Path:
    run = work / name
    run.mkdir(parents=True, exist_ok=True)
    pools = load_pools(*_folders(work))
    pools.real_share = options.real_share
    _tell(f"{name}: {len(pools.rendered)} rendered clips, {len(pools.real)} real ones")
    _Timed(pools, load_model(weights).requires_grad_(True).train(), run, options).train_for(seconds)
    return run / "model.safetensors"


def train(
    source: Path, work: Path, out: Path, *, seconds: float, workers: int, utterances: int
) -> None:
    """Voice, windows, student; each result goes to OUT as soon as it is there."""
    started = time.monotonic()
    say = lambda text: _tell(f"{time.monotonic() - started:6.1f} s {text}")  # noqa: E731
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    goal = preset("mini")
    start = work / "start.safetensors"
    save_model(grow(load_model(), depth=goal.depth, audio_depth=goal.audio_depth), start)
    films = get_context("spawn").Process(target=unpack_films, args=(source, work / "real"))
    (work / "real").mkdir(exist_ok=True)
    films.start()
    heard = _utterances(source)
    while 50 * len(files := sorted(work.glob("said_*.pkl"))) < utterances:
        if time.monotonic() - started > 40:
            break
        time.sleep(1)
    said = [one for path in files for one in pickle.loads(path.read_bytes())]
    say(f"{len(said)} utterances")
    one, others = heard["grid_s1"], heard["grid_other"]
    known, strangers = HELD_OUT["grid_s1"], HELD_OUT["grid_other"]
    real = [*one[known:], *6 * others[strangers:]]
    pool = said + 4 * heard["speech"]
    voice.teach_lips(pool, real)
    # As often as among the 1,200 utterances of runs/mini.sh.
    times = max(1, round(len(said) / 2400))
    ears = work / "voice"
    ears.mkdir(exist_ok=True)
    voice.train(
        pool + times * real,
        [*one[:known], *others[:strangers]],
        ears,
        minutes=0.22 * seconds / 60,
        start=start,
        batch=96,
    )
    heads = load_file(ears / "voice.safetensors")
    save_file({k: v for k, v in heads.items() if k.startswith("heads.")}, out / "heads.safetensors")
    logs = [ears / "voice.jsonl"]
    say("voice")
    weights = work / "heard.safetensors"
    model = load_model(start)
    model.encoder = voice.load_encoder(ears / "voice.safetensors", "mini")
    save_model(model, weights)
    films.join()
    _hear_all(work, weights)
    say("heard")
    left = seconds - (time.monotonic() - started) - 35  # loading twice, hearing once, writing
    common: dict[str, Any] = {
        "frames": 8,
        "batch": 32,
        "precision": "auto",
        "workers": workers,
        "steps": 10**6,
        "real_share": 0.4,
    }
    options = TrainOptions(rate=1e-3, high=0.9, as_sampled=0.8, ema=0.998, **common)
    base = _stage(work, weights, "windows", options, 0.66 * left)
    _ship(base, out, "windows")
    logs.append(work / "windows/train.jsonl")
    (out / "log.jsonl").write_text("".join(log.read_text() for log in logs))
    say("windows")
    (work / "stop").touch()  # what comes later is not heard any more
    _hear_all(work, weights)
    say("heard again")
    left = seconds - (time.monotonic() - started) - 12
    options = TrainOptions(rate=5e-4, high=0.95, as_sampled=0.9, guidance=2.0, ema=0.995, **common)
    student = _stage(work, base, "student", options, left)
    _ship(student, out, "student")
    logs.append(work / "student/train.jsonl")
    (out / "log.jsonl").write_text("".join(log.read_text() for log in logs))
    say("student")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("pack", "make", "train"))
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--utterances", type=int, default=6000)
    parser.add_argument("--workers", type=int, default=12)
    arguments = parser.parse_args()
    if arguments.what == "pack":
        pack(*arguments.paths)
    elif arguments.what == "make":
        make(*arguments.paths, processes=arguments.processes, utterances=arguments.utterances)
    else:
        train(
            *arguments.paths,
            seconds=arguments.seconds,
            workers=arguments.workers,
            utterances=arguments.utterances,
        )


if __name__ == "__main__":
    main()
