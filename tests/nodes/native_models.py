"""Run by a ComfyUI's own Python: OmniSync's guidance on tiny models of the host's real classes.

    python native_models.py COMFYUI OUTPUT.json

Each check is a function `model_what`; OUTPUT names those that passed (true) and how others failed.
"""

import importlib.util
import json
import sys
import traceback
from pathlib import Path

import torch

FOUND, OUTPUT = sys.argv[1:3]
sys.path.insert(0, FOUND)
sys.argv = ["main.py", "--cpu"]  # read by the host when it is imported

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
from tiny_host_models import ALL, AUDIO_MODELS, NEWER, model_of, random  # noqa: E402

ROOT = Path(__file__).parents[2]
FRAMES = 9


def load_pack():
    spec = importlib.util.spec_from_file_location(
        "omnisync_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    pack = sys.modules["omnisync_pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    return pack.NODE_CLASS_MAPPINGS


NODES = load_pack()


def with_audio(name: str, change):
    """The model and its prompt with other audio; LTX can only have it cut off."""
    model, _, positive = model_of(name)
    if name in ("infinitetalk", "ltxav"):
        model = model.clone()
        options = model.model_options["transformer_options"]
        if name == "ltxav":
            options["a2v_cross_attn"] = options["v2a_cross_attn"] = False
        else:
            options["audio_embeds"] = change(options["audio_embeds"], 1)
        return model, positive
    held = positive[0][1]
    audio = held["audio_embed"]
    other = change(audio, 3 if audio.ndim == 4 else 1)
    return model, [[positive[0][0], held | {"audio_embed": other}]]


def parts(x):
    return list(x.unbind()) if getattr(x, "is_nested", False) else [x]


def sample(guider, latent, sigmas, seed=7):
    noise = NODES["OmniSyncNativeStart"]().start(
        guider.model_patcher, {"samples": latent}, torch.tensor([1.0, 0.0]), 1.0, seed
    )[2]
    made = noise.generate_noise({"samples": latent})
    result = guider.sample(
        made, latent, comfy.samplers.sampler_object("euler"), torch.tensor(sigmas), seed=seed
    )
    return parts(result)


def plain(model, positive):
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": positive})
    return guider


FORM = {"spatial_scale": 1.0, "temporal_scale": 1.0, "profile": "constant"}
STEPS = [0.9, 0.5, 0.2, 0.0]


def ours(model, positive, **fields):
    return NODES["OmniSyncGuider"]().guider(model, positive, 1.0, **{**FORM, **fields})[0]


def far(a, b):
    return float((a - b).abs().max()) > 1e-3


def same(a, b):
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def scale_1_is_the_plain_model(name):
    model, latent, positive = model_of(name)
    for a, b in zip(
        sample(ours(model, positive), latent, STEPS),
        sample(plain(model, positive), latent, STEPS),
        strict=True,
    ):
        assert a.isfinite().all() and a.abs().max() > 0
        same(a, b)


def scale_0_is_the_model_without_audio(name):
    model, latent, positive = model_of(name)
    guided = sample(ours(model, positive, spatial_scale=0.0, temporal_scale=0.0), latent, [0.8, 0])
    loud = sample(plain(model, positive), latent, [0.8, 0])
    silent = sample(plain(*with_audio(name, lambda x, _: 0 * x)), latent, [0.8, 0])
    for a, b in zip(guided[1:], loud[1:], strict=True):
        same(a, b)  # the sound that LTX makes beside the picture
    same(guided[0], silent[0])
    assert far(loud[0], silent[0])


def scale_2_goes_beyond(name):
    """With both scales at 2 the result is 2 audio - none."""
    model, latent, positive = model_of(name)
    once, none, twice = (
        sample(ours(model, positive, spatial_scale=s, temporal_scale=s), latent, [0.8, 0])[0]
        for s in (1.0, 0.0, 2.0)
    )
    same(twice, 2 * once - none)


def order_is_what_temporal_scale_hears(name):
    model, latent, positive = model_of(name)
    without = sample(ours(model, positive, temporal_scale=0.0), latent, [0.8, 0])[0]
    whole = sample(ours(model, positive), latent, [0.8, 0])[0]
    assert far(without, whole)
    if name != "ltxav":
        turned = with_audio(name, lambda x, time: x.flip(time))
        same(sample(ours(*turned, temporal_scale=0.0), latent, [0.8, 0])[0], without)


def a_mask_keeps_guidance_inside(name):
    model, latent, positive = model_of(name)
    shape = parts(latent)[0].shape
    mask = torch.zeros(FRAMES, 64, 64)
    mask[..., :32] = 1
    form = {"spatial_scale": 3.0, "temporal_scale": 3.0, "mask": mask, "floor": 1 / 3}
    guided = sample(ours(model, positive, **form), latent, [0.8, 0])[0]
    unguided = sample(plain(model, positive), latent, [0.8, 0])[0]
    half = shape[-1] // 2
    same(guided[..., half:], unguided[..., half:])
    assert far(guided[..., :half], unguided[..., :half])


def every_profile_gives_a_finite_result(name):
    model, latent, positive = model_of(name)
    for profile in ("seed", "paper", "constant"):
        form = {"profile": profile, "spatial_scale": 3.0, "temporal_scale": 2.0}
        result = sample(ours(model, positive, **form), latent, STEPS)
        assert all(part.isfinite().all() for part in result)


def the_patched_model_does_the_same_in_any_sampler(name):
    model, latent, positive = model_of(name)
    form = {**FORM, "spatial_scale": 2.0, "temporal_scale": 2.0}
    patched = NODES["OmniSyncLipGuidance"]().patch(model, **form)[0]
    same(
        sample(plain(patched, positive), latent, STEPS)[0],
        sample(ours(model, positive, **form), latent, STEPS)[0],
    )
    # The model that was given is as it was.
    assert "sampler_pre_cfg_function" not in model.model_options


def the_hosts_own_guidance_goes_on(name):
    model, latent, positive = model_of(name)
    negative = [[random(*positive[0][0].shape, seed=9), dict(positive[0][1])]]
    theirs = comfy.samplers.CFGGuider(model)
    theirs.set_conds(positive, negative)
    theirs.set_cfg(3.0)
    guider = NODES["OmniSyncGuider"]().guider(model, positive, 3.0, negative=negative, **FORM)[0]
    same(sample(guider, latent, [0.8, 0])[0], sample(theirs, latent, [0.8, 0])[0])


def tau_0_returns_the_source(name):
    model, latent, positive = model_of(name)
    _, sigmas, _ = NODES["OmniSyncNativeStart"]().start(
        model, {"samples": latent}, torch.tensor([1.0, 0.5, 0.0]), 0.0, 0
    )
    result = plain(model, positive).sample(
        latent, latent, comfy.samplers.sampler_object("euler"), sigmas
    )
    assert all(torch.equal(a, b) for a, b in zip(parts(result), parts(latent), strict=True))


def the_source_shines_through_at_a_low_tau(name):
    """The lower tau, the nearer the result is to the source; and it begins at sigma(tau)."""
    model, latent, positive = model_of(name)
    sampling = model.get_model_object("model_sampling")
    whole = comfy.samplers.calculate_sigmas(sampling, "simple", 12)
    images = torch.rand(FRAMES, 64, 64, 3, generator=torch.Generator().manual_seed(2))
    distance = []
    for tau in (0.02, 0.9):
        start, sigmas, noise = NODES["OmniSyncNativeStart"]().start(
            model, {"samples": latent}, whole, tau, 5, images=images
        )
        expected = tau / (1 - tau) if name == "svd" else tau
        assert abs(float(sigmas[0]) - expected) < 1e-5 and float(sigmas[-1]) == 0
        assert (sigmas.diff() < 0).all()
        made = noise.generate_noise(start)
        first = parts(made)[0]
        assert first.shape == parts(latent)[0].shape and abs(float(first.std()) - 1) < 0.1
        result = plain(model, positive).sample(
            made, latent, comfy.samplers.sampler_object("euler"), sigmas, seed=5
        )
        distance.append(float((parts(result)[0] - parts(latent)[0]).abs().mean()))
    assert distance[0] < distance[1] / 3, distance


def noise_moves_with_a_still_picture(name):
    model, latent, _ = model_of(name)
    images = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))
    fresh = torch.zeros(1, 64, 64)
    fresh[..., :32] = 1
    *_, noise = NODES["OmniSyncNativeStart"]().start(
        model,
        {"samples": latent},
        torch.tensor([1.0, 0.0]),
        0.9,
        5,
        images=images.expand(FRAMES, -1, -1, -1),
        mask=fresh,
    )
    first = parts(noise.generate_noise({"samples": latent}))[0]
    frames = first if first.ndim == 4 else first[0].movedim(1, 0)
    half = frames.shape[-1] // 2
    same(frames[0, ..., half:], frames[1, ..., half:])
    assert far(frames[0, ..., :half], frames[1, ..., :half])


def a_model_without_audio_is_refused(name):
    model, latent, positive = model_of(name)
    try:
        sample(ours(model, positive), latent, [0.8, 0])
    except ValueError as error:
        assert "hears a voice" in str(error)
    else:
        raise AssertionError("it was taken")


CHECKS = {
    **dict.fromkeys(
        (
            scale_1_is_the_plain_model,
            scale_0_is_the_model_without_audio,
            scale_2_goes_beyond,
            order_is_what_temporal_scale_hears,
            a_mask_keeps_guidance_inside,
            every_profile_gives_a_finite_result,
            the_patched_model_does_the_same_in_any_sampler,
        ),
        tuple(AUDIO_MODELS),
    ),
    # InfiniteTalk's own audio does not fit a batch of two prompts, with or without us.
    the_hosts_own_guidance_goes_on: ("s2v", "humo", "ltxav"),
    **dict.fromkeys(
        (
            tau_0_returns_the_source,
            the_source_shines_through_at_a_low_tau,
            noise_moves_with_a_still_picture,
        ),
        tuple(ALL),
    ),
    a_model_without_audio_is_refused: ("ltxv", "svd"),
}


def main() -> None:
    torch.set_grad_enabled(False)
    outcome = {}
    for check, names in CHECKS.items():
        for name in names:
            if name in NEWER and not importlib.util.find_spec(NEWER[name]):
                continue
            try:
                check(name)
                outcome[f"{check.__name__}[{name}]"] = True
            except Exception:
                outcome[f"{check.__name__}[{name}]"] = traceback.format_exc()
    Path(OUTPUT).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
