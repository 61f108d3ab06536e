// The page: photos are asked about one after the other; answer.js shows what became of one of them.

import { counted, showAnswer, takeAnswer } from "./answer.js";
import { element } from "./elements.js";
import { Refused, models, recover, sentence } from "./service.js";

const $ = (id) => document.getElementById(id);
const shots = []; // {name, file, url, state: waiting|asking|done|failed, error}, and what takeAnswer adds
let current = null;
let key = "";
let asking = null; // the AbortController of the request in progress
let limits = null;

$("files").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = ""; // the same file may be chosen again
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, () => $("drop").classList.remove("over"));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  add([...event.dataTransfer.files]);
});
$("example").addEventListener("click", async () => {
  const response = await fetch("page/example.jpg");
  add([new File([await response.blob()], "example.jpg", { type: "image/jpeg" })]);
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (current.state !== "asking") current.state = "waiting";
  work();
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  for (const shot of shots) if (shot.error?.status === 401) shot.state = "waiting";
  learnLimits();
  work();
});
$("stop").addEventListener("click", () => {
  for (const shot of shots) if (shot.state === "waiting") giveUp(shot, stopped(shot));
  asking?.abort();
});
learnLimits();

async function learnLimits() {
  try {
    limits = (await models(key)).limits;
  } catch (error) {
    if (error.status === 401) askForKey();
    return; // the first photo will tell what else is wrong
  }
  $("key-form").hidden = true;
  const [megabytes, megapixels] = [limits.max_image_bytes, limits.max_pixels].map(millions);
  $("limits").textContent = `Up to ${megabytes} MB and ${megapixels} megapixels a photo.`;
}

function askForKey() {
  $("key-form").hidden = false;
  $("key").focus();
}

function add(files) {
  if (!files.length) return;
  const added = files.map((file) => ({
    name: file.name, file, url: URL.createObjectURL(file), state: "waiting", error: null,
  }));
  for (const shot of added) if (limits && shot.file.size > limits.max_image_bytes) giveUp(shot, tooLarge(shot));
  shots.push(...added);
  current = added[0];
  $("again").disabled = false;
  showStrip();
  showCurrent();
  work();
}

const millions = (count) => Number((count / 1e6).toPrecision(2));

function tooLarge({ name, file }) {
  const [is, most] = [file.size, limits.max_image_bytes].map(millions);
  const message = `This service takes ${most} MB, and ${name} has ${is} MB. Send a smaller one.`;
  return new Refused(413, { code: "too_large", message, request_id: "" }, null);
}

function giveUp(shot, error) {
  Object.assign(shot, { state: "failed", error });
}

// One request at a time: the service has others to serve, and an answer takes a fraction of a second.
async function work() {
  if (asking) return;
  $("stop").hidden = false;
  for (let shot; (shot = shots.find(({ state }) => state === "waiting")); ) {
    asking = new AbortController();
    Object.assign(shot, { state: "asking", error: null });
    changed(shot);
    say(`Looking at ${shot.name} …`);
    try {
      const busy = (seconds) => say(`The service is full. Trying ${shot.name} again in ${seconds} s …`);
      takeAnswer(shot, await recover(shot.file, options(), key, asking.signal, busy));
      shot.state = "done";
      say(`${shot.name}: ${counted(shot.people.length)}.`);
    } catch (error) {
      giveUp(shot, error.name === "AbortError" ? stopped(shot) : error);
      say("");
    }
    asking = null;
    if (shot.error?.status === 401) {
      // The others would be refused, too; they go on when there is a key.
      for (const other of shots) if (other.state === "waiting") giveUp(other, shot.error);
      askForKey();
    }
    changed(shot);
    const below = $("result").getBoundingClientRect().top > 0.7 * innerHeight;
    if (shot === current && !shot.error && below) $("result").scrollIntoView();
  }
  $("stop").hidden = true;
}

function options() {
  const form = new FormData($("ask"));
  const text = form.get("text").trim();
  const numbers = { hypotheses: form.get("hypotheses"), seed: form.get("seed") };
  return { ...numbers, refine: form.has("refine"), ...(text && { text }) };
}

const say = (text) => ($("status").textContent = text);
const stopped = (shot) => new Error(`You stopped before ${shot.name} had an answer.`);

function changed(shot) {
  showStrip();
  if (shot === current) showCurrent();
}

function showStrip() {
  const focused = $("strip").contains(document.activeElement);
  $("strip").hidden = shots.length < 2;
  $("strip").replaceChildren(...shots.map((shot) => {
    const state = { waiting: "waiting", asking: "being looked at", failed: "no answer" }[shot.state];
    const button = element("button", { type: "button", className: shot.state, ariaPressed: String(shot === current) });
    const caption = `${shot.name}: ${state ?? counted(shot.people.length)}`;
    button.append(element("img", { src: shot.url, alt: "" }), element("span", { textContent: caption }));
    button.addEventListener("click", () => {
      current = shot;
      changed(shot);
    });
    const item = element("li");
    item.append(button);
    return item;
  }));
  if (focused) $("strip").querySelector('[aria-pressed="true"]').focus();
}

function showCurrent() {
  const { error } = current;
  $("alarm").hidden = !error;
  if (error) {
    const id = error.requestId ? ` Request ${error.requestId}.` : "";
    const about = element("span", { className: "quiet", textContent: id });
    $("alarm").replaceChildren(headline(error), ` ${sentence(error.message)}`, about);
  }
  showAnswer(error ? null : current);
}

function headline(error) {
  const texts = {
    0: "No answer.", 401: "This service wants an API key.", 413: "Too large.",
    429: "Too many requests with this key.", 500: "The service failed.", 503: "The service is busy.",
  };
  return element("b", { textContent: texts[error.status] ?? "This photo has no answer." });
}
