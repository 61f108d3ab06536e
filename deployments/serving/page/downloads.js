// What was answered, as files.

import { bytes } from "./meshes.js";

export async function save(kind, shot, photo, overlay) {
  const person = shot.chosen;
  const stem = shot.name.replace(/\.[^.]*$/, "");
  const files = {
    glb: () => [`${stem}.glb`, new Blob([bytes(shot.picture.glb_base64)], { type: "model/gltf-binary" })],
    bvh: () => [`${stem}_person${person + 1}.bvh`, new Blob([shot.picture.people[person].bvh], { type: "text/plain" })],
    json: () => [`${stem}.json`, new Blob([JSON.stringify(shot.answer, numbers, 1)], { type: "application/json" })],
    png: async () => [`${stem}_overlay.png`, await shown(photo, overlay)],
  };
  const [name, blob] = await files[kind]();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // Not at once: the browser reads it after this task.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Meshes have a file of their own.
function numbers(name, value) {
  return name.endsWith("_base64") || name === "bvh" ? undefined : value;
}

// The photo in its own size, at most 2048 pixels, with the bodies as they are shown over it.
function shown(photo, overlay) {
  const scale = Math.min(1, 2048 / Math.max(photo.naturalWidth, photo.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(photo.naturalWidth * scale);
  canvas.height = Math.round(photo.naturalHeight * scale);
  const context = canvas.getContext("2d");
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = Number(getComputedStyle(overlay).opacity);
  context.drawImage(overlay, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
