// Asks the service. What it refuses becomes an error whose message is for people.

const TRIES = 10;
const OUTPUTS = "json,hypotheses,meshes,glb,bvh";

export class Refused extends Error {
  constructor(status, answer, retryAfterS) {
    super(answer.message);
    Object.assign(this, { status, code: answer.code, requestId: answer.request_id, retryAfterS });
  }
}

export const models = (key) => ask("v1/models", { headers: authorization(key) });

// Everyone in one photo. While the service is full, calls waiting(seconds), waits as long as it said, and asks again.
export async function recover(photo, options, key, signal, waiting) {
  for (let attempt = 1; ; attempt++) {
    const body = new FormData();
    for (const [name, value] of Object.entries(options)) body.set(name, value);
    body.set("outputs", OUTPUTS);
    body.set("file", photo, "photo");
    try {
      return await ask("v1/recover", { method: "POST", body, signal, headers: authorization(key) });
    } catch (error) {
      const busy = error instanceof Refused && (error.status === 503 || error.status === 429);
      if (!busy || error.retryAfterS === null || attempt === TRIES) throw error;
      const seconds = Math.max(error.retryAfterS, 1);
      waiting(seconds);
      await pause(1000 * seconds, signal);
    }
  }
}

const authorization = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

async function ask(path, request) {
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const message = "The service does not answer. Is it still running, and is the photo within its limits?";
    throw new Refused(0, { code: "unreachable", message, request_id: "" }, null);
  }
  if (response.ok) return response.json();
  const seconds = Number.parseInt(response.headers.get("Retry-After"), 10);
  // Something between here and the service may answer in its place, and not in JSON.
  const answer = await response.json().catch(() => ({}));
  const words = {
    code: answer.code ?? "http_error",
    message: sentence(answer.message ?? `The service answers with status ${response.status}.`),
    request_id: answer.request_id ?? response.headers.get("X-Request-ID") ?? "",
  };
  throw new Refused(response.status, words, Number.isNaN(seconds) ? null : seconds);
}

export function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
