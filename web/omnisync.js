// Two pictures below the pack's own nodes: guidance on the way from noise to picture (drag a curve
// to change its scale), and after a run what became of the mouth. The classic canvas folds advanced
// fields away, as Nodes 2.0 does by itself. Everything works without it.

import { app } from "../../scripts/app.js";
import { schedules, timeGrid } from "./curves.js";
import { drawStrip, HEIGHT as STRIP_HEIGHT } from "./strip.js";

const CURVES = new Set(["OmniSyncSampler", "OmniSyncLipGuidance", "OmniSyncGuider"]);
const STRIPS = new Set(["OmniSyncLipSync", "OmniSyncSampler"]);
const CURVES_HEIGHT = 110;
const SCALES = ["spatial_scale", "temporal_scale"];
const COLOURS = ["#5ac8fa", "#f0b446"];

const field = (node, name) => node.widgets?.find((widget) => widget.name === name);
const scaleOf = (node, which) => Number(field(node, SCALES[which])?.value);
const profileOf = (node) => field(node, "profile")?.value ?? "constant";

/** Where sampling starts: the tau of the Flow Init that is connected. */
function tauOf(node) {
  const slot = node.inputs?.findIndex((input) => input.name === "start") ?? -1;
  const source = slot < 0 ? null : node.getInputNode?.(slot);
  return (source && field(source, "tau")?.value) ?? 1;
}

/** Call `after` whenever the object's own method was called. */
function follow(object, method, after) {
  const before = object[method];
  object[method] = function (...given) {
    const answer = before?.apply(this, given);
    after(...given);
    return answer;
  };
}

/** A canvas below the node's fields, drawn anew at every size; returns what redraws it. */
function addCanvas(node, name, height, draw) {
  const canvas = document.createElement("canvas");
  canvas.className = `omnisync-${name}`;
  canvas.style.width = "100%";
  canvas.style.height = `${height}px`;
  const widget = node.addDOMWidget(name, `omnisync_${name}`, canvas, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => height,
    getMaxHeight: () => height,
  });
  widget.serialize = false; // neither in the prompt nor in saved graphs
  const redraw = () => {
    if (!node.graph) return; // a node that is removed changes its size, too; its links are gone by then
    const width = canvas.clientWidth || 280;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    // Nodes 2.0 stretches what is in a tall node: more room, not taller letters.
    canvas.height = (canvas.clientHeight || height) * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    draw(pen, width);
  };
  // The width is known when the page has laid it out, and again when somebody pulls at the node.
  new ResizeObserver(redraw).observe(canvas);
  return { canvas, redraw };
}

const axes = (width, top) => ({
  x: (t) => 8 + (1 - t) * (width - 16),
  y: (value) => CURVES_HEIGHT - 20 - (value / top) * (CURVES_HEIGHT - 40),
});
const topOf = (node) => Math.max(1, scaleOf(node, 0), scaleOf(node, 1));

function drawCurves(node, pen, width) {
  pen.clearRect(0, 0, width, CURVES_HEIGHT);
  const { x, y } = axes(width, topOf(node));
  pen.font = "10px sans-serif";
  pen.strokeStyle = "#666";
  pen.beginPath();
  pen.moveTo(x(1), y(1));
  pen.lineTo(x(0), y(1)); // 1: the plain model
  pen.stroke();
  const steps = field(node, "steps");
  for (const t of steps ? timeGrid(steps.value, tauOf(node)) : []) {
    pen.beginPath();
    pen.moveTo(x(t), CURVES_HEIGHT - 20);
    pen.lineTo(x(t), CURVES_HEIGHT - 15);
    pen.stroke();
  }
  COLOURS.forEach((colour, which) => {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 2;
    pen.beginPath();
    for (let i = 0; i <= 60; i++) {
      const t = 1 - i / 60;
      pen.lineTo(x(t), y(scaleOf(node, which) * schedules(profileOf(node), t)[which]));
    }
    pen.stroke();
    pen.fillText(which ? "timing" : "place", 8 + 40 * which, 11);
  });
  pen.fillStyle = "#999";
  pen.fillText("noise", 8, CURVES_HEIGHT - 3);
  pen.textAlign = "right";
  pen.fillText("picture", width - 8, CURVES_HEIGHT - 3);
  pen.textAlign = "left";
}

/** The nearest curve follows the pointer: its field gets the scale that puts it there. */
function letDrag(node, canvas, redraw) {
  let held = null;
  const at = (event) => {
    const frame = canvas.getBoundingClientRect(); // zoomed with the graph
    const width = canvas.clientWidth;
    const px = ((event.clientX - frame.left) * width) / frame.width;
    const py = ((event.clientY - frame.top) * canvas.clientHeight) / frame.height;
    const t = Math.min(1, Math.max(0, 1 - (px - 8) / (width - 16)));
    return { t, py, ...axes(width, held?.top ?? topOf(node)) };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const { t, py, y } = at(event);
    const away = COLOURS.map((_, which) =>
      Math.abs(y(scaleOf(node, which) * schedules(profileOf(node), t)[which]) - py),
    );
    held = { which: away[1] <= away[0] ? 1 : 0, top: topOf(node) };
    canvas.setPointerCapture?.(event.pointerId);
    event.stopPropagation();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const { t, py } = at(event);
    const curve = schedules(profileOf(node), t)[held.which];
    if (curve < 0.05) return; // a curve at zero says nothing about its scale
    const own = field(node, SCALES[held.which]);
    const height = ((CURVES_HEIGHT - 20 - py) * held.top) / (CURVES_HEIGHT - 40);
    const { min = 0, max = 20, step2 = 0.05 } = own.options ?? {};
    const value = Math.round(height / curve / step2) * step2;
    own.value = Number(Math.min(max, Math.max(min, value)).toFixed(4));
    own.callback?.(own.value, app.canvas, node);
    redraw();
    event.stopPropagation();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => (held = null));
  }
}

function addCurves(node) {
  const { canvas, redraw } = addCanvas(node, "curves", CURVES_HEIGHT, (pen, width) =>
    drawCurves(node, pen, width),
  );
  for (const name of ["profile", "steps", ...SCALES]) {
    const own = field(node, name);
    if (own) follow(own, "callback", redraw);
  }
  const later = () => requestAnimationFrame(redraw);
  follow(node, "onConfigure", later);
  follow(node, "onConnectionsChange", later);
  letDrag(node, canvas, redraw);
}

function addStrip(node) {
  let data = null;
  const pictures = new Map();
  const load = (address) => {
    if (!pictures.has(address)) {
      const image = new Image();
      image.onload = () => redraw();
      image.src = address;
      pictures.set(address, image);
    }
    const image = pictures.get(address);
    return image.complete && image.naturalWidth ? image : null;
  };
  const { canvas, redraw } = addCanvas(node, "strip", STRIP_HEIGHT, (pen, width) =>
    drawStrip(pen, width, data, load),
  );
  const take = (output) => {
    if (!output?.omnisync_strip) return;
    data = output.omnisync_strip[0];
    pictures.clear();
    canvas.title = `${data.frames} frames`;
    redraw();
  };
  follow(node, "onExecuted", take);
  // A graph that is shown again (another tab) gets the last run's outputs back just after its nodes.
  follow(node, "onConfigure", () => setTimeout(() => take(app.nodeOutputs?.[node.id]), 100));
}

/** "Show Advanced" in the node's menu brings them back; a field that is linked stays in sight. */
function foldAdvanced(node) {
  for (const widget of node.widgets ?? []) {
    if (!widget.options?.advanced) continue;
    const slot = node.inputs?.find((input) => input.widget?.name === widget.name);
    widget.advanced = slot?.link == null;
  }
}

app.registerExtension({
  name: "OmniSync.Pictures",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("OmniSync")) return;
    foldAdvanced(node);
    follow(node, "onConfigure", () => foldAdvanced(node));
    follow(node, "onConnectionsChange", () => foldAdvanced(node));
    if (!node.addDOMWidget) return;
    if (CURVES.has(node.comfyClass)) addCurves(node);
    if (STRIPS.has(node.comfyClass)) addStrip(node);
  },
});
