// What a run did, drawn below the node: mouths, voice and mouth opening on one time line, with the
// frames that were skipped or had something in front of the mouth marked; no side effects.

export const HEIGHT = 168;
const PICTURE = 56;
const TOP = PICTURE + 22;
const BOTTOM = HEIGHT - 24;
const EDGE = 8;
const VOICE = "#f0b446";
const MOUTH = "#5ac8fa";
const MARKS = { o: ["#c77dff", "covered"], s: ["#8a8a8a", "skipped"] };

/** The strip as a canvas; `load` returns a picture once it is there. */
export function drawStrip(pen, width, data, load) {
  pen.clearRect(0, 0, width, HEIGHT);
  pen.font = "10px sans-serif";
  pen.textBaseline = "alphabetic";
  if (!data) {
    pen.fillStyle = "#999";
    pen.fillText("After a run: the mouths, and how they follow the voice.", EDGE, 14);
    return;
  }
  const columns = data.states.length;
  const step = (width - 2 * EDGE) / Math.max(1, columns);
  drawPictures(pen, width, data, load);
  for (let i = 0; i < columns; i++) {
    const mark = MARKS[data.states[i]];
    if (!mark) continue;
    pen.fillStyle = mark[0];
    pen.globalAlpha = 0.25;
    pen.fillRect(EDGE + i * step, TOP, step + 0.5, BOTTOM - TOP);
    pen.globalAlpha = 1;
    pen.fillRect(EDGE + i * step, BOTTOM + 2, step + 0.5, 4);
  }
  const y = (value) => BOTTOM - value * (BOTTOM - TOP);
  pen.fillStyle = VOICE;
  pen.globalAlpha = 0.45;
  data.voice.forEach((v, i) => pen.fillRect(EDGE + i * step, y(v ?? 0), step + 0.5, BOTTOM - y(v ?? 0)));
  pen.globalAlpha = 1;
  pen.strokeStyle = MOUTH;
  pen.lineWidth = 2;
  pen.beginPath();
  let open = false;
  data.opening.forEach((value, i) => {
    if (value != null) pen[open ? "lineTo" : "moveTo"](EDGE + (i + 0.5) * step, y(value));
    open = value != null;
  });
  pen.stroke();
  drawLegend(pen, width, data);
}

function drawPictures(pen, width, data, load) {
  const room = (width - 2 * EDGE) / Math.max(1, data.pictures.length);
  const side = Math.min(PICTURE, room - 2);
  data.pictures.forEach((one, i) => {
    const x = EDGE + i * room + (room - side) / 2;
    const image = one.picture && load(one.picture);
    if (image) {
      pen.drawImage(image, x, 2, side, side);
    } else {
      pen.strokeStyle = "#666";
      pen.lineWidth = 1;
      pen.strokeRect(x + 0.5, 2.5, side - 1, side - 1);
    }
  });
}

function drawLegend(pen, width, data) {
  const seen = Object.entries(MARKS).filter(([kind]) => data.states.includes(kind));
  let x = EDGE;
  for (const [colour, word] of [[VOICE, "voice"], [MOUTH, "mouth"], ...seen.map(([, m]) => m)]) {
    pen.fillStyle = colour;
    pen.fillText(word, x, PICTURE + 15);
    x += pen.measureText(word).width + 10;
  }
  pen.fillStyle = "#999";
  pen.fillText("0 s", EDGE, HEIGHT - 4);
  pen.textAlign = "right";
  pen.fillText(`${data.frames} frames, ${data.seconds.toFixed(1)} s`, width - EDGE, HEIGHT - 4);
  pen.textAlign = "left";
}
