"""The curves of omnisync_core/evaluation/curves.py, under the name that the benchmarks import."""

from omnisync_core.evaluation.curves import *  # noqa: F403
