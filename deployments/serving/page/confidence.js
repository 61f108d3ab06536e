// How far to trust a body: a figure, a table by body part, a strip of scores, and what became of the words.

import { drawn, element } from "./elements.js";

// SMPL's joints, in its order, as /v1/models names them.
export const JOINTS = [
  "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
  "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
  "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
];
const PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21];
const PAIRED = ["shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "foot"];
const SINGLE = ["head", "neck", "spine3", "spine1"];
const NAMES = { spine3: "chest", spine1: "waist" };

// The report's ramp (deployments/demo/charts.py), and the errors at its ends.
const RAMP = [[42, 157, 143], [122, 184, 116], [233, 184, 76], [231, 120, 76], [199, 56, 88]];
const [SURE_MM, UNSURE_MM] = [20, 250];

// For each joint [expected error, low end, high end] in mm; where the model was never calibrated, its spread alone.
export function errorsOf(person) {
  return person.joint_error_mm ?? person.joint_spread_mm.map((spread) => [spread]);
}

// RGB in 0..1: teal where an error is small, red where it is large.
export function rampColor(errorMm) {
  const share = Math.min(Math.max((errorMm - SURE_MM) / (UNSURE_MM - SURE_MM), 0), 1);
  const at = share * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  return RAMP[low].map((value, i) => (value + (RAMP[low + 1][i] - value) * (at - low)) / 255);
}

const css = (errorMm) => `rgb(${rampColor(errorMm).map((value) => Math.round(value * 255)).join(" ")})`;
const mm = (value) => `${Math.round(value)} mm`;

export function rampText(person) {
  const what = person.joint_error_mm
    ? "The expected error of each joint, relative to the pelvis; behind the bar the upper end of its 90 % interval"
    : "This model was never calibrated: only how far its hypotheses disagree about each joint is known";
  return `${what}. Colours run from ${SURE_MM} to ${UNSURE_MM} mm.`;
}

export function overallText(person) {
  const expected = `Joints are expected to be ${mm(person.expected_error_mm)} off on average`;
  const ends = person.error_interval_mm;
  return ends ? `${expected}; nine times of ten between ${Math.round(ends[0])} and ${mm(ends[1])}.` : `${expected}.`;
}

// The pose as it stands in the picture, each joint coloured, and sized, by its expected error.
export function figure(person) {
  const errors = errorsOf(person).map(([expected]) => expected);
  const places = fitted(person.joints_px, 100, 160, 12);
  const order = errors.map((_, joint) => joint).sort((a, b) => errors[a] - errors[b]);
  const [best, worst] = [order[0], order[order.length - 1]];
  const surest = `Surest is the ${words(best)} (${mm(errors[best])})`;
  const said = `Stick figure. ${surest}, least sure the ${words(worst)} (${mm(errors[worst])}).`;
  const svg = drawn("svg", { class: "figure", viewBox: "0 0 100 160", role: "img", "aria-label": said });
  PARENTS.forEach((parent, joint) => {
    if (parent < 0) return;
    const [[x1, y1], [x2, y2]] = [places[parent], places[joint]];
    svg.append(drawn("line", { x1, y1, x2, y2, stroke: css((errors[parent] + errors[joint]) / 2) }));
  });
  for (const joint of order) {
    const [cx, cy] = places[joint];
    const r = 2.2 + 2.8 * Math.min(errors[joint] / UNSURE_MM, 1);
    const dot = drawn("circle", { cx, cy, r, fill: css(errors[joint]) });
    dot.append(Object.assign(drawn("title", {}), { textContent: `${words(joint)}: ${mm(errors[joint])}` }));
    svg.append(dot);
  }
  return svg;
}

export function parts(person) {
  const errors = errorsOf(person);
  const most = Math.max(...errors.flat(), 1);
  const table = element("table", { className: "plain" });
  const head = element("tr");
  for (const text of ["", "left", "right"]) head.append(element("th", { scope: "col", textContent: text }));
  table.append(element("thead"), element("tbody"));
  table.tHead.append(head);
  const cell = (name) => barCell(errors[JOINTS.indexOf(name)], most);
  const rows = [
    ...SINGLE.map((name) => [NAMES[name] ?? name, Object.assign(cell(name), { colSpan: 2 })]),
    ...PAIRED.map((name) => [name, cell(`left_${name}`), cell(`right_${name}`)]),
  ];
  for (const [name, ...cells] of rows) {
    const row = element("tr");
    row.append(element("th", { scope: "row", textContent: name }), ...cells);
    table.tBodies[0].append(row);
  }
  return table;
}

function barCell([expected, low, high], most) {
  const box = { class: "error-bar", viewBox: "0 0 100 8", preserveAspectRatio: "none" };
  const bar = drawn("svg", { ...box, "aria-hidden": "true" });
  if (high !== undefined) bar.append(drawn("rect", { class: "behind", width: (100 * high) / most, height: 8 }));
  bar.append(drawn("rect", { width: (100 * expected) / most, height: 8, fill: css(expected) }));
  const cell = element("td");
  cell.append(element("span", { textContent: mm(expected) }), bar);
  if (high !== undefined) {
    cell.title = `90 % interval: ${Math.round(low)} to ${mm(high)}`;
    cell.append(element("span", { className: "unseen", textContent: `, ${cell.title}` }));
  }
  return cell;
}

// Every hypothesis as a bar, best score first; `order` are their indices, `rank` counts from 0.
export function scoreStrip(person, order, rank, chosen) {
  const scores = order.map((index) => person.hypothesis_scores[index]);
  const [high, low] = [scores[0], scores[scores.length - 1]];
  const step = 300 / order.length;
  const svg = drawn("svg", { class: "score-strip", viewBox: "0 0 300 56", "aria-hidden": "true" });
  order.forEach((index, place) => {
    const height = 6 + 34 * (high > low ? (scores[place] - low) / (high - low) : 1);
    const kind = `score ${index === person.selected ? "answer" : ""} ${place === rank ? "shown" : ""}`;
    const box = { x: (place + 0.1) * step, y: 44 - height, width: step * 0.8, height, rx: 1.5 };
    const bar = drawn("rect", { class: kind, ...box });
    // The whole column can be pressed; the slider is what keys use.
    const column = drawn("rect", { class: "column", x: place * step, y: 0, width: step, height: 56 });
    column.addEventListener("click", () => chosen(place));
    svg.append(bar, column);
    if (index !== person.selected) return;
    svg.append(drawn("circle", { class: "mark-answer", cx: (place + 0.5) * step, cy: 51, r: 3 }));
  });
  return svg;
}

// What was understood of the text, and how much of it the body plainly shows.
export function told(refinement) {
  const title = refinement.told_after === null ? "Drawn to what was seen" : "What you said";
  const lines = [element("h3", { textContent: title })];
  const say = (text, className = "") => lines.push(element("p", { textContent: text, className }));
  const facts = Object.entries(refinement.told);
  if (refinement.told_after !== null) {
    const count = (share) => Math.round(share * facts.length);
    const [before, after] = [count(refinement.told_before), count(refinement.told_after)];
    const meter = element("meter", { min: 0, max: 1, value: refinement.told_after });
    meter.setAttribute("aria-label", "Agreement of the body with what you said");
    lines.push(meter);
    say(`${after} of ${facts.length} things you said are plainly shown; ${before} before you said so.`);
    const list = element("dl", { className: "facts-told" });
    for (const [fact, category] of facts) {
      const [what, how] = [fact, category].map((name) => name.replaceAll("_", " "));
      list.append(element("dt", { textContent: what }), element("dd", { textContent: how }));
    }
    lines.push(list);
  }
  if (refinement.unread.length) say(`Not understood: ${refinement.unread.join("; ")}.`, "bad");
  if (refinement.contradictions.length) say(`Can't all be true: ${refinement.contradictions.join("; ")}.`, "bad");
  const [off, now] = [refinement.off_before, refinement.off_after].map((share) => (100 * share).toFixed(1));
  const went = `joints went ${mm(refinement.moved_mm)}`;
  say(`Keypoints are ${now} % of the crop's side off, and were ${off} %; ${went}.`, "quiet");
  return lines;
}

const words = (joint) => JOINTS[joint].replace("_", " ");

function fitted(points, width, height, margin) {
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const across = (width - 2 * margin) / Math.max(right - left, 1e-6);
  const scale = Math.min(across, (height - 2 * margin) / Math.max(bottom - top, 1e-6));
  return points.map(([x, y]) => [
    (x - (left + right) / 2) * scale + width / 2, (y - (top + bottom) / 2) * scale + height / 2,
  ]);
}
