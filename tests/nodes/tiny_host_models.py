"""Tiny models of a running ComfyUI's real classes, one for each that native_models.py checks.

Import it once the host's options have been parsed: it imports the host.
"""

import comfy.model_patcher
import comfy.ops
import torch
from comfy import supported_models

T, H, W = 3, 8, 8


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(kind: str, **config):
    """A tiny model of one of the host's classes, with weights that let everything through."""
    chosen = getattr(supported_models, kind)(dict(config))
    chosen.set_inference_dtype(torch.float32, None)
    return patcher_of(chosen.get_model({}, "", device=torch.device("cpu")))


def patcher_of(model: torch.nn.Module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.15 * values)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model.eval(), load_device=cpu, offload_device=cpu)


WAN = {"image_model": "wan2.1", "dim": 48, "ffn_dim": 64, "num_heads": 2, "num_layers": 2}
WAN |= {"in_dim": 16, "out_dim": 16, "text_dim": 32, "text_len": 8, "freq_dim": 32}


def s2v():
    model = build(
        "WAN22_S2V",
        **WAN,
        model_type="s2v",
        audio_dim=24,
        num_audio_token=4,
        audio_inject_layers=[0, 1],
    )
    audio = random(1, 25, 24, T * 4, seed=3)
    return model, random(1, 16, T, H, W, seed=4), {"audio_embed": audio}


def humo():
    model = build("WAN21_HuMo", **WAN, model_type="humo")
    audio = random(1, T, 8, 5, 1280, seed=3)
    return model, random(1, 16, T, H, W, seed=4), {"audio_embed": audio}


def infinitetalk():
    from comfy.ldm.wan.model_multitalk import MultiTalkCrossAttnPatch
    from comfy_extras.nodes_model_patch import MultiTalkModelPatch

    # Its attention has 40 heads, whatever the width.
    model = build("WAN21_T2V", **{**WAN, "dim": 80}, model_type="t2v")
    ears = MultiTalkModelPatch(
        in_dim=80, out_dim=32, intermediate_dim=16, num_layers=2, operations=comfy.ops.manual_cast
    )
    model = model.clone()
    model.set_model_patch(MultiTalkCrossAttnPatch(patcher_of(ears)), "attn2_patch")
    model.model_options["transformer_options"]["audio_embeds"] = random(1, T, 32, 32, seed=3)
    return model, random(1, 16, T, H, W, seed=4), {}


LTX = {"in_channels": 128, "cross_attention_dim": 64, "attention_head_dim": 32}
LTX |= {"num_attention_heads": 2, "caption_channels": 32, "num_layers": 2}


def ltxav():
    import comfy.nested_tensor

    model = build(
        "LTXAV",
        image_model="ltxav",
        **LTX,
        audio_cross_attention_dim=32,
        audio_attention_head_dim=16,
        audio_num_attention_heads=2,
        connector_attention_head_dim=16,
        connector_num_attention_heads=2,
        audio_connector_attention_head_dim=16,
        audio_connector_num_attention_heads=2,
    )
    latent = comfy.nested_tensor.NestedTensor(
        [random(1, 128, T, 4, 4, seed=4), random(1, 8, 6, 16, seed=5)]
    )
    return model, latent, {}


def ltxv():
    model = build("LTXV", image_model="ltxv", **LTX)
    return model, random(1, 128, T, 4, 4, seed=4), {"attention_mask": torch.ones(1, 8)}


def svd():
    model = build(
        "SVD_img2vid",
        image_size=32,
        in_channels=8,
        out_channels=4,
        model_channels=64,
        num_res_blocks=[1, 1],
        channel_mult=[1, 2],
        transformer_depth=[1, 1],
        transformer_depth_output=[1, 1, 1, 1],
        transformer_depth_middle=1,
        context_dim=32,
        adm_in_channels=768,
        num_classes="sequential",
        video_kernel_size=[3, 1, 1],
        merge_strategy="learned_with_images",
        merge_factor=0.0,
        use_linear_in_transformer=True,
        use_spatial_transformer=True,
        use_temporal_attention=True,
        use_temporal_resblock=True,
        num_heads=-1,
        legacy=False,
    )
    more = {"concat_latent_image": random(1, 4, H, W, seed=6)}
    return model, random(T, 4, H, W, seed=4), more


AUDIO_MODELS = {"s2v": s2v, "humo": humo, "infinitetalk": infinitetalk, "ltxav": ltxav}
# What the oldest host that is supported does not have yet.
NEWER = {"infinitetalk": "comfy.ldm.wan.model_multitalk", "ltxav": "comfy.ldm.lightricks.av_model"}
ALL = {**AUDIO_MODELS, "ltxv": ltxv, "svd": svd}
_built: dict = {}


def model_of(name: str):
    if name not in _built:
        _built[name] = ALL[name]()
    model, latent, more = _built[name]
    # A processed prompt of LTX's two streams is as wide as both.
    prompt = random(1, 8, 64 if name == "ltxav" else 32, seed=1)
    return model, latent, [[prompt, dict(more)]]
