#!/usr/bin/env bash
# The straight path to a `mini` like the embedded one, whose own way had detours (docs/LOG.md). Needs the extra `train`, libespeak-ng, and a folder that
# holds facekit.npz and clips/train/ (see docs/model_card.md). Usage: runs/mini.sh DATA WORK
set -euo pipefail
data=$1 work=$2
# glibc gives freed memory back between steps otherwise, which costs more than the steps.
export MALLOC_TRIM_THRESHOLD_=-1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456

python -m omnisync_core.training.voice "$data" "$work/voice" --minutes 14 --utterances 1300
prepare() { omnisync prepare "$@" --voice "$work/voice/voice.safetensors" -o "$work/pairs"; }
for seed in $(seq 11); do
  prepare "$data/facekit.npz" --seed "$seed" --clips 450
done
for corpus in "$data"/clips/train/*; do
  prepare "$corpus"
done
# Two processes, one thread each, did 1.4 times the steps of one process with two threads (two cores).
OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m omnisync_core.cli train small --data "$work/pairs" --voice "$work/voice/voice.safetensors" \
  -o "$work/run"
