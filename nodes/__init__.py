"""The pack's nodes, by the ids that workflows store: never renamed, inputs only appended."""

from __future__ import annotations

from .chunk_video import LongVideoChunker
from .encode_audio import AudioEncode
from .init_flow import FlowInit
from .load_model import ModelLoader
from .repair_occlusion import OcclusionRepair
from .sample import Sampler
from .sync_video import LipSync

NODE_CLASS_MAPPINGS = {
    "OmniSyncLipSync": LipSync,
    "OmniSyncModelLoader": ModelLoader,
    "OmniSyncAudioEncode": AudioEncode,
    "OmniSyncFlowInit": FlowInit,
    "OmniSyncSampler": Sampler,
    "OmniSyncOcclusionRepair": OcclusionRepair,
    "OmniSyncLongVideoChunker": LongVideoChunker,
}
NODE_DISPLAY_NAME_MAPPINGS = {name: node.TITLE for name, node in NODE_CLASS_MAPPINGS.items()}
