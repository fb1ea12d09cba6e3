"""The pack's nodes, by the ids that workflows store: never renamed, inputs only appended."""

from __future__ import annotations

from .chunk_video import LongVideoChunker
from .compare import Compare
from .encode_audio import AudioEncode
from .evaluate import Evaluate
from .guide_native import Guider, LipGuidance
from .init_flow import FlowInit
from .load_model import ModelLoader
from .mask_mouth import MouthMask
from .repair_occlusion import OcclusionRepair
from .sample import Sampler
from .start_native import NativeStart
from .sync_video import LipSync

NODE_CLASS_MAPPINGS = {
    "OmniSyncLipSync": LipSync,
    "OmniSyncModelLoader": ModelLoader,
    "OmniSyncAudioEncode": AudioEncode,
    "OmniSyncFlowInit": FlowInit,
    "OmniSyncSampler": Sampler,
    "OmniSyncOcclusionRepair": OcclusionRepair,
    "OmniSyncLongVideoChunker": LongVideoChunker,
    "OmniSyncEvaluate": Evaluate,
    "OmniSyncCompare": Compare,
    "OmniSyncMouthMask": MouthMask,
    "OmniSyncLipGuidance": LipGuidance,
    "OmniSyncGuider": Guider,
    "OmniSyncNativeStart": NativeStart,
}
NODE_DISPLAY_NAME_MAPPINGS = {name: node.TITLE for name, node in NODE_CLASS_MAPPINGS.items()}
