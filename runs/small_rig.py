"""Reduce the full rig to the one that the benchmark's built-in set renders.

    python runs/small_rig.py facekit.npz omnisync_core/evaluation/data/facekit_small.npz

Kept: every expression (idle faces and mouths use them), the first 24 identity shapes, which carry
most of a face's variety. Left out: texture coordinates, motion below 0.02 mm.
"""

import sys

import numpy as np

SHAPES, STEP = 24, 1 / 512  # cm: finer steps are not seen and pack badly

full = dict(np.load(sys.argv[1]))
small = {k: v for k, v in full.items() if not k.startswith(("uv", "material"))}
for name, count in (("identity", SHAPES), ("expression", None)):
    steps = np.round(full[name][:count].astype(np.float32) / STEP)
    small[name] = (steps * STEP).astype(np.float16)
small["triangles"] = full["triangles"].astype(np.uint16)
np.savez_compressed(sys.argv[2], **small)
