// Guidance over flow time, as omnisync_core/guidance.py and sampler.py have it; no side effects.

const sigmoid = (t) => 1 / (1 + Math.exp(-t));

/** The curves [k_s, k_t] of a profile at flow time t in [0, 1]. */
export function schedules(profile, t) {
  if (profile === "seed") return [(1 - sigmoid(t)) / 0.5, sigmoid(t) * (1 + Math.exp(-1))];
  if (profile === "paper") return [t ** 1.5, t ** 1.5];
  return [1, 1];
}

/** Flow times from tau down to 0: steps + 1 points of the grid of 1000. */
export function timeGrid(steps, tau) {
  const start = Math.round(tau * 1000);
  if (start === 0) return [0];
  const count = Math.min(steps, start);
  const times = [];
  for (let k = count; k >= 0; k--) {
    times.push(Math.floor((2 * start * k + count) / (2 * count)) / 1000);
  }
  return times;
}
