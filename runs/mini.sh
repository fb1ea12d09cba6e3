#!/usr/bin/env bash
# The straight path to a `mini` like the embedded one, whose own way had detours (docs/LOG.md). Needs the extra `train`, libespeak-ng, and a folder that
# holds facekit.npz and clips/train/ (see docs/model_card.md). Usage: runs/mini.sh DATA WORK
set -euo pipefail
data=$1 work=$2
# glibc gives freed memory back between steps otherwise, which costs more than the steps.
export MALLOC_TRIM_THRESHOLD_=-1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456

python -m omnisync_core.training.voice "$data" "$work/voice" --minutes 14 --utterances 1300
for seed in 1 2 3 4; do
  python -m omnisync_core.training.prepare render "$data" "$work/pairs" --seed $seed --clips 500
done
python -m omnisync_core.training.prepare real "$data" "$work/pairs"
python -m omnisync_core.training.prepare hear "$work/pairs" "$work/voice/voice.safetensors"
train="python -m omnisync_core.training.train $work/pairs $work/voice/voice.safetensors"
# Stage 1: single frames around the mouth. Stage 2: short clips of whole crops.
$train "$work/stage1" --minutes 45 --view 64 --batch 16
$train "$work/stage2" --minutes 20 --frames 4 --batch 4 --start "$work/stage1/model.safetensors"
