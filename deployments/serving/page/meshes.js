// Every hypothesis's mesh out of an answer: positions in the camera frame (x right, y down, z forward, metres).

export function facesOf(answer) {
  return new Uint32Array(bytes(answer.faces_base64).buffer);
}

// One mesh a hypothesis, in the order they were drawn. Normals are worked out when a mesh is first looked at.
export function meshesOf(person, faces) {
  const { transl_cam_m: places, joints_cam_m: joints } = person.hypotheses;
  const offsets = new Int16Array(bytes(person.meshes_base64).buffer);
  const size = offsets.length / places.length;
  return places.map((place, index) => {
    const positions = new Float32Array(size);
    for (let i = 0; i < size; i++) positions[i] = offsets[index * size + i] / 1e4 + place[i % 3];
    let normals;
    return { positions, joints: joints[index], get normals() { return (normals ??= normalsOf(positions, faces)); } };
  });
}

// At each vertex, the mean of its joints' values, the nearest counting most.
export function spreadOver(mesh, values) {
  const { positions, joints } = mesh;
  const spread = new Float32Array(positions.length / 3);
  for (let v = 0; v < spread.length; v++) {
    let sum = 0;
    let weights = 0;
    for (let j = 0; j < joints.length; j++) {
      const x = positions[3 * v] - joints[j][0];
      const y = positions[3 * v + 1] - joints[j][1];
      const z = positions[3 * v + 2] - joints[j][2];
      const weight = 1 / (x * x + y * y + z * z + 1e-4) ** 2;
      sum += weight * values[j];
      weights += weight;
    }
    spread[v] = sum / weights;
  }
  return spread;
}

export function middleOf(mesh) {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  mesh.positions.forEach((value, i) => {
    low[i % 3] = Math.min(low[i % 3], value);
    high[i % 3] = Math.max(high[i % 3], value);
  });
  const middle = low.map((value, i) => (value + high[i]) / 2);
  return { middle, radius: Math.hypot(...high.map((value, i) => value - middle[i])) };
}

function normalsOf(positions, faces) {
  const normals = new Float32Array(positions.length);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
    const u = [0, 1, 2].map((i) => positions[b + i] - positions[a + i]);
    const v = [0, 1, 2].map((i) => positions[c + i] - positions[a + i]);
    // Not of unit length: large faces count more.
    const normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    for (const corner of [a, b, c]) for (let i = 0; i < 3; i++) normals[corner + i] += normal[i];
  }
  return normals;
}

export function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
