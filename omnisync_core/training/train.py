"""The training loop of the editor: flow matching on pairs, one visible loop.

A stage's folder gets state.pt (resumable to the step), train.jsonl and TensorBoard's curves and
samples, and model.safetensors (the moving average, without optimiser state). Sample i of step s is
drawn from its own seed (s, i), so that a run gives the same samples resumed, and shared out over
any number of processes. recipe.py strings stages together; `omnisync train` runs them.
"""

from __future__ import annotations

import json
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch
from accelerate import Accelerator
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from ..checkpoint import save_model
from ..decoder import Drawing, compose
from ..errors import UserError
from ..guidance import mouth_map
from ..model import OmniSync
from .batch import Batch, TrainOptions, Windows, draw_windows
from .critic import Critic, balanced, contest
from .embedder import Embedder
from .losses import (
    change_weight,
    edge_loss,
    flow_loss,
    identity_loss,
    motion_loss,
    mouth_weight,
    velocity_loss,
)
from .pairs import Pools

_FLOW_WEIGHT = 0.01
"""Of a pixel of error; the picture's terms come to about 0.05 when training begins."""

_CRITIC_BETAS = (0.5, 0.95)
"""A critic's opponent changes: its optimiser remembers less (Radford et al. 2016, arXiv 1511.06434,
section 3, for the first one)."""
_CRITIC_PACE = 4
"""Its rate over the editor's. At the same rate it could not tell true from drawn after 500 steps
(docs/LOG.md)."""

_COLOURS_WITHIN = 24
"""Share of the crop's side (one in so many) in which guided colours must be found: six pixels of
144, more than guidance moves a lip beyond the truth."""


def bf16_pays(device: torch.device) -> bool:
    """Whether bf16 is the faster one: on GPUs, and on CPUs with instructions for it. On a CPU
    without them the decoder's convolutions take fifteen times as long as in fp32 (docs/LOG.md)."""
    if device.type != "cpu":
        return True
    known = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.6 and newer
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def within_colours(goal: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The goal [b f 3 h w] held to the colours that source or target have near by, per channel.

    Guidance moves colours along a line: where lips close, skin becomes as much paler than skin as
    it is paler than lips. Of a pair the true colours are known, and such a chin is not among them.
    """
    reach = max(1, goal.shape[-1] // _COLOURS_WITHIN)
    both = torch.stack([source, target, -source, -target]).flatten(0, 2)
    highest = F.max_pool2d(both, 2 * reach + 1, stride=1, padding=reach)
    highest = highest.unflatten(0, (2, 2, *goal.shape[:2])).amax(1)
    return torch.maximum(torch.minimum(goal, highest[0]), -highest[1])


class Objective(nn.Module):
    """A model and what it is trained for, as one module: forward(batch) -> the loss's terms."""

    def __init__(
        self,
        model: OmniSync,
        embedder: Embedder | None = None,
        *,
        identity: float = 0.0,
        change: float = 0.0,
        adversarial: float = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.embedder = model, embedder
        self.identity, self.change, self.adversarial = identity, change, adversarial
        self.critic = Critic() if adversarial else None

    def draw(self, batch: Batch) -> tuple[Drawing, Tensor]:
        """What compose() makes the clean frames of, all windows' frames in a row: n = b f."""
        model, (count, frames) = self.model, batch.source.shape[:2]
        flag = lambda mask: mask.view(-1, 1, 1, 1)  # noqa: E731
        order = repeat(batch.summary, "b a -> b f k a", f=frames, k=batch.windows.shape[2])
        audio = torch.where(flag(batch.unordered), order, batch.windows)
        audio = torch.where(flag(batch.mute), model.silence, audio)
        voice = model.voiceprint(batch.tokens, batch.counts)
        voice = torch.where(batch.nameless[:, None], torch.zeros_like(voice), voice)
        t = batch.t[:, None, None, None, None]
        held = torch.where(flag(batch.as_sampled)[..., None], batch.source, batch.target)
        x_t = (1 - t) * held + t * batch.noise
        times = repeat(torch.arange(frames, device=t.device) / 25.0, "f -> b f", b=count)
        return model.transformer.draw(x_t, batch.source, batch.t, audio, voice, times)

    def predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Clean frames [b f 3 h w] and the flow behind them [b f 2 h/2 w/2]."""
        drawing, pictures = self.draw(batch)
        shape = batch.source.shape[:2]
        return compose(drawing, pictures).unflatten(0, shape), drawing.flow.unflatten(0, shape)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        clean, flow = self.predict(batch)
        around = weight = mouth_weight(batch.mouth, *batch.goal.shape[-2:])
        heard = ~(batch.mute | batch.unordered)[:, None, None, None, None]
        if self.change:
            weight = weight * (1 + self.change * heard * change_weight(batch.source, batch.target))
        terms = {
            "velocity": velocity_loss(clean, batch.goal, batch.t, weight),
            "edge": 0.1 * edge_loss(clean, batch.goal, weight),
            "motion": 0.1 * motion_loss(clean, batch.goal, weight),
            "flow": _FLOW_WEIGHT * flow_loss(flow, batch.flow, weight[..., ::2, ::2]),
        }
        if self.critic is not None:
            others = torch.stack(list(terms.values())).sum()
            own, pull = contest(self.critic, clean, batch.target, batch.source, around * heard)
            terms["critic"] = own
            terms["adversarial"] = self.adversarial * balanced(pull, own, others, clean)
        if self.embedder is not None and self.identity:
            apart = identity_loss(self.embedder, clean, batch.target, batch.t)
            terms[self.embedder.term] = self.identity * apart
        return terms

    @torch.no_grad()
    def guidance_shift(self, batch: Batch, scale: float) -> tuple[Tensor, Tensor]:
        """What guidance of the constant profile adds to the clean frames [b f 3 h w], and the same
        of the flow behind them [b f 2 h/2 w/2]; for whole crops. st_cfg gives (1 - w M) x(none) +
        w M x(audio), which is x(audio) and this."""
        every, never = torch.ones_like(batch.mute), torch.zeros_like(batch.mute)
        none = self.predict(replace(batch, mute=every, nameless=every))
        audio = self.predict(replace(batch, mute=never, unordered=never))
        more = scale * mouth_map(*batch.target.shape[-2:]).to(batch.target) - 1
        return more * (audio[0] - none[0]), more[..., ::2, ::2] * (audio[1] - none[1])


class _Drawn(Dataset[Windows]):
    """Step -> this process's windows; sample i of it is drawn from its own seed (s, i)."""

    def __init__(self, pools: Pools, options: TrainOptions, own: range) -> None:
        self.pools, self.options, self.own = pools, options, own

    def __getitem__(self, step: int) -> Windows:
        seeds = [(self.options.seed, step, i) for i in self.own]
        return draw_windows(self.pools, self.options, seeds)


class Trainer:
    """One run: model, moving average, optimiser and their resumable state."""

    def __init__(
        self,
        pools: Pools,
        model: OmniSync,
        run: Path,
        options: TrainOptions,
        embedder: Embedder | None = None,
    ) -> None:
        # Without a word, several processes on CPUs would each believe to be alone.
        has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
        self.accelerator = Accelerator(
            cpu=not has_gpu,
            log_with="tensorboard",
            project_dir=run,
        )
        if options.batch % self.accelerator.num_processes:
            raise UserError(
                f"expected a batch that {self.accelerator.num_processes} processes can share, got "
                f"{options.batch}; choose a multiple"
            )
        if options.guidance and options.view:
            raise UserError(
                "guidance needs the whole crop, whose middle it knows to be the mouth; got a view "
                f"of {options.view}: set view to 0"
            )
        if options.identity and (options.view or embedder is None):
            raise UserError(
                "the identity loss needs an embedder and the whole face; got a view of "
                f"{options.view} and {'an' if embedder else 'no'} embedder: set view to 0 and give "
                "--embedder"
            )
        self.pools, self.run, self.options = pools, run, options
        self.model = model.to(self.accelerator.device)
        self.teacher = Objective(deepcopy(self.model)) if options.guidance else None
        self.model.transformer.checkpointing = options.checkpointing
        if options.decoder_alone:
            self.model.requires_grad_(False)
            self.model.transformer.decoder.requires_grad_(True)
        self.model.encoder.requires_grad_(False)  # taught by voice.py; pixels teach it nothing new
        self.average = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(options.ema), use_buffers=True
        )
        if options.compiled:
            for one in [self.model, *([self.teacher.model] if self.teacher else [])]:
                for part in (*one.transformer.blocks, one.transformer.decoder):
                    part.compile()
        objective = Objective(
            self.model,
            embedder,
            identity=options.identity,
            change=options.change,
            adversarial=options.adversarial,
        ).to(self.accelerator.device)
        self.critic = objective.critic
        trained = [{"params": [p for p in self.model.parameters() if p.requires_grad]}]
        if self.critic is not None:
            own = {"betas": _CRITIC_BETAS, "pace": _CRITIC_PACE}
            trained.append({"params": [*self.critic.parameters()], **own})
        optimiser = torch.optim.AdamW(
            trained, options.rate, (0.9, 0.95), weight_decay=0.01, fused=True
        )
        self.objective, self.optimiser = self.accelerator.prepare(objective, optimiser)
        self.step = 0
        if (run / "state.pt").exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.run / "state.pt", weights_only=True, map_location="cpu")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
        self.step = state["step"]

    def save(self) -> None:
        """Write state and averaged model; each replaces the old file only once it is whole."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        if self.critic is not None:
            state["critic"] = self.critic.state_dict()
        torch.save(state, self.run / "state.tmp")
        (self.run / "state.tmp").replace(self.run / "state.pt")
        averaged = self.average.module
        assert isinstance(averaged, OmniSync)
        save_model(averaged, self.run / "model.tmp", notes={"steps": str(self.step)})
        (self.run / "model.tmp").replace(self.run / "model.safetensors")

    def train(self) -> None:
        """Run to the last step: every 50 steps a line in the log, every 200 samples and a saved
        state. A run that is finished already changes nothing."""
        if self.step >= self.options.steps:
            return
        started, seen = time.monotonic(), []
        self.accelerator.init_trackers("tensorboard")
        coming = iter(self._coming())
        while self.step < self.options.steps:
            seen.append(self._one_step(next(coming)))
            if self.step % 50 == 0:
                self._log(seen, minutes=(time.monotonic() - started) / 60)
                seen = []
            if self.step % 200 == 0:
                self.save()
                self._show()
        self.save()
        self.accelerator.wait_for_everyone()  # the next stage of all begins with what one wrote
        # Not end_training(): it also ends the group of processes, which the next stage needs.
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def _show(self) -> None:
        """Rows of source, target and prediction of always the same samples, for TensorBoard."""
        if not self.accelerator.is_main_process:
            return
        seeds = [(self.options.seed, 2**31, i) for i in range(4)]  # no step is as late as this
        batch = draw_windows(self.pools, self.options, seeds).on(self.accelerator.device)
        averaged = self.average.module
        assert isinstance(averaged, OmniSync)
        with torch.no_grad():
            drawn, _ = Objective(averaged).predict(batch)
        rows = torch.stack([batch.source[:, 0], batch.target[:, 0], drawn[:, 0]])
        picture = rearrange((rows.clamp(-1, 1) + 1) / 2, "kind b c h w -> (kind h) (b w) c")
        board: Any = self.accelerator.get_tracker("tensorboard", unwrap=True)
        name = "source, target, prediction"
        board.add_image(name, picture.cpu(), self.step, dataformats="HWC")

    def _log(self, seen: list[dict[str, Tensor]], *, minutes: float) -> None:
        means = {name: float(torch.stack([one[name] for one in seen]).mean()) for name in seen[0]}
        self.accelerator.log(means, step=self.step)
        if not self.accelerator.is_main_process:
            return
        row = {"step": self.step, "minutes": round(minutes, 2)}
        row |= {name: round(value, 5) for name, value in means.items()}
        with (self.run / "train.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")

    def _share_of_peak(self) -> float:
        """The rate now, over the peak rate."""
        left = 1 - self.step / self.options.steps
        return min(1.0, (self.step + 1) / 200) * min(1.0, max(0.05, left * 3))

    def _coming(self) -> DataLoader:
        """This process's windows of every step from the next one on."""
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        own = range(rank, self.options.batch, ranks)
        drawn = _Drawn(self.pools, self.options, own)
        steps = range(self.step, self.options.steps)
        if self.options.workers:
            cv2.setNumThreads(1)  # here: its threads do not live on in forked processes
        return DataLoader(drawn, batch_size=None, sampler=steps, num_workers=self.options.workers)

    def _one_step(self, windows: Windows) -> dict[str, Tensor]:
        """One step on all processes; the loss's terms over the whole batch."""
        rate = self.options.rate * self._share_of_peak()
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("pace", 1)
        batch = windows.on(self.accelerator.device)
        # Not accelerate's own setting: that one is fixed for a process, and stages may differ.
        precision = self.options.precision
        half = bf16_pays(self.accelerator.device) if precision == "auto" else precision == "bf16"
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=half):
            if self.teacher is not None:
                self._teach(batch, self.teacher)
            terms = self.objective(batch)
        self.optimiser.zero_grad(set_to_none=False)
        self.accelerator.backward(torch.stack(list(terms.values())).sum())
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.average.update_parameters(self.model)
        self.step += 1
        # Tensors: reading a number would make the processor wait for the GPU in every step.
        means: Any = self.accelerator.reduce({k: v.detach() for k, v in terms.items()}, "mean")
        return means

    def _teach(self, batch: Batch, teacher: Objective) -> None:
        """Move the batch's goal by the teacher's guidance. What is heard without order, or not at
        all, stays true to the pictures."""
        heard = ~(batch.mute | batch.unordered)[:, None, None, None, None]
        shift, moved = teacher.guidance_shift(batch, self.options.guidance)
        moved_goal = within_colours(batch.target + shift, batch.source, batch.target)
        batch.goal = torch.where(heard, moved_goal, batch.target)
        batch.flow = torch.where(heard, batch.flow + moved, batch.flow)
