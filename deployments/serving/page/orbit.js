// A camera that goes around a body: by pointer, by keys, and by buttons.

import { pinhole } from "./viewer.js";

const FIELD = 1.9; // focal length over the canvas's shorter side: a calm perspective
const [NEAREST, FARTHEST, STEEPEST] = [0.35, 3, 85];

export class Orbit {
  constructor(canvas, changed) {
    Object.assign(this, { canvas, changed, yaw: 0, pitch: 0, zoom: 1, target: { middle: [0, 0, 4], radius: 1 } });
    this.pointers = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
    });
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("wheel", (event) => {
      // Who scrolls past the canvas wants to scroll.
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      this.turn(0, 0, Math.exp(event.deltaY * 0.001));
    }, { passive: false });
  }

  turn(yaw, pitch, zoom = 1) {
    this.yaw += yaw;
    this.pitch = Math.min(Math.max(this.pitch + pitch, -STEEPEST), STEEPEST);
    this.zoom = Math.min(Math.max(this.zoom * zoom, NEAREST), FARTHEST);
    this.changed();
  }

  // Goes there the short way; at once where motion is unwelcome.
  goTo(yaw, pitch, zoom = this.zoom) {
    cancelAnimationFrame(this.frame);
    const from = { yaw: this.yaw, pitch: this.pitch, zoom: this.zoom };
    const way = ((((yaw - from.yaw) % 360) + 540) % 360) - 180;
    const lasts = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 450;
    const started = performance.now();
    const step = (now) => {
      const share = lasts ? Math.min((now - started) / lasts, 1) : 1;
      const eased = 1 - (1 - share) ** 3;
      this.yaw = from.yaw + way * eased;
      this.pitch = from.pitch + (pitch - from.pitch) * eased;
      this.zoom = from.zoom + (zoom - from.zoom) * eased;
      this.changed();
      if (share < 1) this.frame = requestAnimationFrame(step);
    };
    step(started);
  }

  camera = (width, height) => {
    const { middle: [x, y, z], radius } = this.target;
    const [a, b] = [this.yaw, this.pitch].map((degrees) => (degrees * Math.PI) / 180);
    const [sa, ca, sb, cb] = [Math.sin(a), Math.cos(a), Math.sin(b), Math.cos(b)];
    const distance = this.zoom * radius * FIELD * 1.95;
    // Rows of Rx(pitch) Ry(yaw): about the body's upright axis first.
    const rows = [[ca, 0, sa], [sb * sa, cb, -sb * ca], [-cb * sa, sb, cb * ca]];
    const shift = rows.map((row) => -(row[0] * x + row[1] * y + row[2] * z));
    shift[2] += distance;
    const columns = [0, 1, 2].flatMap((i) => [rows[0][i], rows[1][i], rows[2][i], 0]);
    const focal = FIELD * Math.min(width, height);
    const [near, far] = [Math.max(distance - 3 * radius, 0.02), distance + 3 * radius];
    return {
      view: Float32Array.of(...columns, ...shift, 1),
      projection: pinhole(focal, [width / 2, height / 2], width, height, near, far),
    };
  };

  #drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    cancelAnimationFrame(this.frame);
    if (this.pointers.size === 1) {
      this.turn((before.clientX - event.clientX) * 0.5, (event.clientY - before.clientY) * 0.4);
    } else {
      const other = [...this.pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
      const apart = (pointer) => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY);
      this.turn(0, 0, apart(before) / Math.max(apart(event), 1));
    }
    this.pointers.set(event.pointerId, event);
  }

  #key(event) {
    const moves = {
      ArrowLeft: () => this.turn(10, 0), ArrowRight: () => this.turn(-10, 0),
      ArrowUp: () => this.turn(0, -10), ArrowDown: () => this.turn(0, 10),
      "+": () => this.turn(0, 0, 0.9), "=": () => this.turn(0, 0, 0.9), "-": () => this.turn(0, 0, 1 / 0.9),
      0: () => this.goTo(0, 0, 1),
    };
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    cancelAnimationFrame(this.frame);
    moves[event.key]();
  }
}
