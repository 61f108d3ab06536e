// Shows one photo's answer: everyone over the photo, one person in the round, one hypothesis of the many.

import { errorsOf, figure, overallText, parts, rampColor, rampText, scoreStrip, told } from "./confidence.js";
import { save } from "./downloads.js";
import { element } from "./elements.js";
import { facesOf, meshesOf, middleOf, spreadOver } from "./meshes.js";
import { Orbit } from "./orbit.js";
import { sentence } from "./service.js";
import { Viewer, photoCamera } from "./viewer.js";

// One colour a person: those of the service's overlays (core/synthetic/shading.py).
const PALETTE = [
  [136, 174, 240], [240, 206, 112], [244, 127, 174], [103, 92, 164],
  [153, 204, 127], [226, 118, 76], [187, 187, 211], [75, 111, 95],
].map((color) => color.map((value) => value / 255));
const GHOST = [122, 134, 156].map((value) => value / 255);

const $ = (id) => document.getElementById(id);
const overlay = Viewer.on($("overlay"));
const round = Viewer.on($("body"));
const orbit = new Orbit($("body"), showBody);
let shot = null;

$("rank").addEventListener("input", () => choose(Number($("rank").value) - 1));
$("chosen").addEventListener("click", () => choose(person().order.indexOf(person().told.selected)));
$("opacity").addEventListener("input", () => $("overlay").style.setProperty("opacity", $("opacity").value / 100));
for (const name of ["ghosts", "doubt"]) $(name).addEventListener("change", showBodies);
for (const button of document.querySelectorAll("[data-yaw]")) {
  button.addEventListener("click", () => orbit.goTo(Number(button.dataset.yaw), Number(button.dataset.pitch)));
}
for (const button of document.querySelectorAll("[data-file]")) {
  button.addEventListener("click", () => {
    overlay?.draw(); // a canvas keeps its pixels only until the browser has shown them
    save(button.dataset.file, shot, $("photo"), $("overlay"));
  });
}

export const counted = (count) => ["nobody", "1 person"][count] ?? `${count} people`;

// Keeps in the shot what is shown of its answer. A person's rank counts from 0, the best score.
export function takeAnswer(shot, answer) {
  const [picture] = answer.pictures;
  const faces = facesOf(answer);
  const people = picture.people.map((told) => {
    const order = told.hypothesis_scores.map((_, index) => index);
    order.sort((a, b) => told.hypothesis_scores[b] - told.hypothesis_scores[a]);
    return { told, order, rank: order.indexOf(told.selected), meshes: meshesOf(told, faces) };
  });
  Object.assign(shot, { answer, picture, faces, people, chosen: 0 });
}

// Null, or a shot without an answer, hides all of it.
export function showAnswer(wanted) {
  shot = wanted?.answer ? wanted : null;
  $("result").hidden = !shot;
  if (!shot) return;
  const { answer, picture, people, faces, name, url } = shot;
  const found = counted(people.length);
  $("result-title").textContent = `${name}: ${found}`;
  const undrawn = overlay ? null : "this browser has no WebGL 2, and can't draw bodies; the files hold them";
  $("note").textContent = [picture.note, undrawn].filter(Boolean).map(sentence).join(" ");
  $("photo").src = url;
  $("photo").alt = `${name}, with the bodies of ${found} over it`;
  $("picture").style.setProperty("aspect-ratio", `${picture.width_px} / ${picture.height_px}`);
  $("picture").style.setProperty("--aspect", picture.width_px / picture.height_px);
  for (const part of document.querySelectorAll(".of-a-person")) part.hidden = !people.length;
  for (const viewer of [overlay, round]) viewer?.useFaces(faces);
  const spent = Math.round(answer.timings_ms.total);
  const models = Object.values(answer.models).join(", ");
  const made = `Seed ${answer.seed}, ${answer.hypotheses} hypotheses, ${spent} ms at the service`;
  $("origin").textContent = `${made}. ${models}.`;
  $("people").replaceChildren(...people.map(box));
  if (people.length) showPerson();
  else showBodies();
}

const person = () => shot.people[shot.chosen];

// Where a person is in the photo, to be pressed. Smaller ones lie above larger ones.
function box({ told }, index) {
  const { width_px: width, height_px: height } = shot.picture;
  const [x0, x1] = [told.box_px[0], told.box_px[2]].map((x) => Math.min(Math.max(x / width, 0), 1));
  const [y0, y1] = [told.box_px[1], told.box_px[3]].map((y) => Math.min(Math.max(y / height, 0), 1));
  const button = element("button", { type: "button", className: "person-box", ariaLabel: `Person ${index + 1}` });
  const color = PALETTE[index % PALETTE.length].map((value) => Math.round(255 * value));
  const style = {
    left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%`,
    "z-index": Math.round(1000 * (1 - (x1 - x0) * (y1 - y0))), "--c": `rgb(${color.join(" ")})`,
  };
  for (const [name, value] of Object.entries(style)) button.style.setProperty(name, value);
  if (shot.people.length > 1) button.append(element("span", { textContent: index + 1 }));
  button.addEventListener("click", () => {
    shot.chosen = index;
    showPerson();
  });
  return button;
}

function showPerson() {
  const { told: one, order, meshes } = person();
  [...$("people").children].forEach((button, index) => (button.ariaPressed = String(index === shot.chosen)));
  $("rank").max = order.length;
  $("overall").textContent = overallText(one);
  $("figure").replaceChildren(figure(one));
  $("parts").replaceChildren(parts(one));
  $("ramp-text").textContent = rampText(one);
  $("told").hidden = !one.refinement;
  if (one.refinement) $("told").replaceChildren(...told(one.refinement));
  orbit.target = middleOf(meshes[one.selected]);
  choose(person().rank);
}

function choose(rank) {
  const { told: one, order } = person();
  const index = order[rank];
  const error = Math.round(one.hypotheses.expected_error_mm[index]);
  const facts = [`score ${one.hypothesis_scores[index].toFixed(2)}`, `expected error ${error} mm`];
  if (index === 0) facts.push("drawn without noise");
  if (index === one.selected) facts.push("the answer");
  const text = `${rank + 1} of ${order.length}: ${facts.join(", ")}`;
  person().rank = rank;
  $("rank").value = rank + 1;
  $("rank").ariaValueText = text;
  $("rank-text").textContent = text;
  $("scores").replaceChildren(scoreStrip(one, order, rank, choose));
  $("chosen").disabled = index === one.selected;
  $("body").ariaLabel = `Body of person ${shot.chosen + 1}, hypothesis ${text}`;
  showBodies();
}

function showBodies() {
  showBody();
  if (!shot || !overlay) return;
  const bodies = shot.people.map((one, index) => bodyOf(one, index, one.meshes[one.order[one.rank]]));
  overlay.show(bodies, photoCamera(shot.picture));
}

function showBody() {
  if (!shot?.people.length || !round) return;
  const { meshes, order, rank } = person();
  const shown = meshes[order[rank]];
  const ghosts = $("ghosts").checked ? meshes.filter((mesh) => mesh !== shown) : [];
  // Pelvis on pelvis: how far away somebody stands is the least certain of all, and would hide how poses differ.
  const shiftOf = (mesh) => shown.joints[0].map((value, i) => value - mesh.joints[0][i]);
  round.show([
    bodyOf(person(), shot.chosen, shown),
    ...ghosts.map((mesh) => ({ mesh, color: GHOST, alpha: 0.12, shift: shiftOf(mesh) })),
  ], orbit.camera);
}

function bodyOf(one, index, mesh) {
  if (!$("doubt").checked) return { mesh, color: PALETTE[index % PALETTE.length] };
  const spread = spreadOver(mesh, errorsOf(one.told).map(([expected]) => expected));
  const color = new Float32Array(3 * spread.length);
  spread.forEach((value, vertex) => color.set(rampColor(value), 3 * vertex));
  return { mesh, color };
}
