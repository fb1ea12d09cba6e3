"""How the demo that comes with the package was made: a rendered character and two spoken sentences.

    python runs/demo_clip.py FACEKIT omnisync_core/demo

FACEKIT is facekit.npz; speech comes from libespeak-ng, a system package (see training/tts.py).
The folder gets character.mp4 (4 s, 25 frames a second, speaking its own sentence) and voice.wav
(another voice, another sentence). Everything is drawn from fixed seeds; with --contact FILE.png
also a sheet of frames to look at.
"""

from __future__ import annotations

import argparse
import tempfile
import wave
from dataclasses import replace
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from omnisync_core.training.looks import Finish
from omnisync_core.training.render import Head, HeadKit, Pose, Scene, Window, render
from omnisync_core.training.tts import SAMPLE_RATE, synthesise
from omnisync_core.training.visemes import articulation, expression_weights

RATE, SIZE, SECONDS = 25, 384, 4.2
HEAD_SEED = 11  # picked from a sheet of 32 for a friendly face, clear lips and tidy hair
HEAD_CM, SHARE = 26.0, 0.78  # crown to chin with hair; its part of the picture's height
LEAD_IN = 0.25  # seconds of rest before each sentence
OWN_WORDS = "Hello! A computer drew me, and this is my own voice."
OWN_VOICE = {"voice": "en-us+f2", "rate": 165, "pitch": 52, "pitch_range": 60}
OTHER_WORDS = "Good morning! Now somebody else is speaking through me."
OTHER_VOICE = {"voice": "en-us+m3", "rate": 150, "pitch": 42, "pitch_range": 65}


def studio() -> Scene:
    """Soft key light from the left, fill from the right, rim from behind, a plain wall."""
    rng = np.random.default_rng(0)
    scene = Scene(rng, extent=110.0)
    ways = np.array([[-0.55, 0.5, 1.0], [0.9, 0.15, 0.55], [0.5, 0.9, -0.7]])
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    colours = np.array([[0.84, 0.78, 0.72], [0.30, 0.33, 0.37], [0.36, 0.34, 0.32]])
    scene.lights = np.concatenate([ways, colours], 1).astype(np.float32)
    scene.ambient = np.array([[0.40, 0.42, 0.45], [0.27, 0.25, 0.23]], np.float32)
    scene.distance, scene.shadow = 120.0, 0.5
    # Linear light on the wall: brighter behind the head.
    y, x = np.mgrid[0:256, 0:256] / 255 - 0.5
    glow = np.exp(-((x / 0.22) ** 2 + (y / 0.25) ** 2) / 2)[..., None]
    far, near = np.array([0.10, 0.16, 0.22]), np.array([0.42, 0.55, 0.60])
    scene.background = (far + (near - far) * glow).astype(np.float32)
    scene.finish = replace(
        Finish.draw(rng, style="photo"),
        shrink=1.0,
        blur=0.0,
        smear=(0.0, 0.0),
        noise=0.004,
        noise_size=1.0,
        quality=0,
        mix=np.eye(3, dtype=np.float32),
        gamma=1.0,
        lift=0.0,
    )
    return scene


def spoken(words: str, voice: dict) -> tuple[np.ndarray, list]:
    """The sentence after a short rest: waveform of SECONDS and its phones, shifted likewise."""
    waveform, phones = synthesise(words, **voice)
    room = round(SECONDS * SAMPLE_RATE) - round(LEAD_IN * SAMPLE_RATE) - len(waveform)
    if room < 0:
        raise ValueError(f"expected at most {SECONDS - LEAD_IN:.1f} s of speech; shorten {words!r}")
    waveform = np.pad(waveform, (round(LEAD_IN * SAMPLE_RATE), room))
    return 0.9 * waveform / np.abs(waveform).max(), phones


def stress(waveform: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Loudness in [0, 1] at the frames' times, smoothed over a quarter of a second."""
    power = np.abs(waveform[: len(times) * SAMPLE_RATE // RATE]).reshape(len(times), -1).mean(1)
    soft = cv2.GaussianBlur(power[None], (0, 0), RATE * 0.12)[0]
    return soft / soft.max()


def acting(kit: HeadKit, times: np.ndarray, loud: np.ndarray) -> tuple[np.ndarray, list[Pose]]:
    """What the face does besides speaking [f, 57], and the poses: sways, nods with the voice."""
    smile = 0.18 + 0.22 * np.clip((times - (SECONDS - 0.7)) / 0.4, 0, 1)
    face = np.outer(smile, kit.weights(mouthSmile=1, cheekSquint=0.5))
    face += np.outer(0.35 * loud, kit.weights(browInnerUp=1, browOuterUp=0.7))
    for moment in (0.15, 1.9, 3.6):
        # Lids fall within two frames and take three to rise.
        ahead = (times - moment) * RATE
        lid = np.clip(1 - np.where(ahead < 0, -ahead / 2, ahead / 3), 0, 1)
        face += np.outer(lid, kit.weights(eyeBlink=1))
    wave_of = lambda hertz, phase: np.sin(2 * np.pi * hertz * times + phase)  # noqa: E731
    yaw = 0.10 + 0.07 * wave_of(0.31, 0.4) + 0.02 * wave_of(0.83, 1.0)
    pitch = 0.01 + 0.02 * wave_of(0.47, 2.0) + 0.045 * loud
    roll = 0.02 * wave_of(0.37, 1.2)
    x, y = 0.35 * wave_of(0.29, 0.2), 0.12 * wave_of(0.41, 0.9)
    rows = np.stack([yaw, pitch, roll, x, y], 1)
    return face, [Pose(*(float(v) for v in row)) for row in rows]


def character(kit: HeadKit) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [f, SIZE, SIZE, 3] and the waveform that they speak."""
    waveform, phones = spoken(OWN_WORDS, OWN_VOICE)
    times = np.arange(round(SECONDS * RATE)) / RATE
    lips = expression_weights(
        articulation(phones, times - LEAD_IN), kit.expression_names, strength=0.9
    )
    face, poses = acting(kit, times, stress(waveform, times))
    head, scene = Head(kit, np.random.default_rng(HEAD_SEED)), studio()
    scale = SIZE * SHARE / HEAD_CM
    window = Window(-SIZE / scale / 2, -SIZE / scale / 2 - 1, scale, SIZE, SIZE)
    rng = np.random.default_rng(0)
    frames = []
    for pose, weights in zip(poses, np.clip(lips + face, 0, 1), strict=True):
        picture = render(head, scene, weights, pose=pose, window=window)
        grain = scene.finish.grain(rng, SIZE, SIZE)
        frames.append(scene.finish.apply(picture.linear, picture.lines, grain))
    return np.stack(frames), waveform


def write_wave(path: Path, waveform: np.ndarray) -> None:
    """Mono, 16 bit, 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.round(waveform * 32767).astype("<i2").tobytes())


def write_video(path: Path, frames: np.ndarray, waveform: np.ndarray) -> None:
    """H.264 and AAC in an mp4 that every player opens."""
    with tempfile.TemporaryDirectory() as folder:
        voice = Path(folder) / "voice.wav"
        write_wave(voice, waveform)
        writer = imageio_ffmpeg.write_frames(
            path,
            (SIZE, SIZE),
            fps=RATE,
            codec="libx264",
            quality=None,
            macro_block_size=2,
            audio_path=str(voice),
            audio_codec="aac",
            output_params=["-crf", "20", "-preset", "slow", "-b:a", "64k"],
        )
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo clip and the demo voice.")
    parser.add_argument("facekit", type=Path, help="facekit.npz")
    parser.add_argument("out", type=Path, help="folder for character.mp4 and voice.wav")
    parser.add_argument("--contact", type=Path, metavar="FILE", help="also a sheet of frames")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    frames, waveform = character(HeadKit.load(arguments.facekit))
    write_video(arguments.out / "character.mp4", frames, waveform)
    write_wave(arguments.out / "voice.wav", spoken(OTHER_WORDS, OTHER_VOICE)[0])
    if arguments.contact:
        few = frames[:: max(1, len(frames) // 18)][:18, ::2, ::2]
        sheet = np.vstack([np.hstack(few[i : i + 6]) for i in range(0, 18, 6)])
        cv2.imwrite(str(arguments.contact), sheet[..., ::-1])


if __name__ == "__main__":
    main()
