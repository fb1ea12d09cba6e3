"""Files in and out: the public face of the media layer, which opens every media file.

    probe_video   path -> VideoInfo: size, rate, the time of every frame     (video_info.py)
    read_frames   path -> uint8 RGB frames, one at a time                    (frame_reader.py)
    read_plan     path, frame numbers -> frames in any order                 (frame_reader.py)
    read_audio    path -> mono float32 waveform                              (audio_files.py)
    match_length  lengths of picture and sound -> LengthPlan                 (length_plan.py)
    FrameWriter   frames, sound -> .mp4, .mov or .mkv, whole or not at all   (frame_writer.py)
    check_output  path -> UserError before any long work, not after it       (frame_writer.py)

All of it runs on the ffmpeg program inside the imageio-ffmpeg package (ffmpeg.py); nothing holds a
whole video in memory.
"""

from .audio_files import AudioSource, read_audio
from .frame_reader import read_frames, read_plan
from .frame_writer import FORMATS, FrameWriter, check_output, remove_stale_parts
from .length_plan import LengthPlan, match_length
from .video_info import Display, VideoInfo, probe_video

__all__ = [
    "FORMATS",
    "AudioSource",
    "Display",
    "FrameWriter",
    "LengthPlan",
    "VideoInfo",
    "check_output",
    "match_length",
    "probe_video",
    "read_audio",
    "read_frames",
    "read_plan",
    "remove_stale_parts",
]
