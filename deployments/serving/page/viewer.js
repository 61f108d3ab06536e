// Draws bodies with WebGL 2. Cameras look along z, with x to the right and y down, as the service's numbers do.

// The lights of the service's own overlays (core/synthetic/shading.py), so that both look alike.
const VERTEX = `#version 300 es
in vec3 position, normal, color;
uniform mat4 view, projection;
uniform vec3 shift;
out vec3 n, albedo;
void main() {
  n = mat3(view) * normal;
  albedo = color;
  gl_Position = projection * view * vec4(position + shift, 1.0);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 n, albedo;
uniform float alpha;
out vec4 seen;
void main() {
  vec3 m = normalize(n) * (gl_FrontFacing ? 1.0 : -1.0);
  vec3 light = mix(vec3(0.13, 0.115, 0.10), vec3(0.24, 0.26, 0.29), 0.5 - 0.5 * m.y);
  light += vec3(1.00, 0.965, 0.91) * max(dot(m, normalize(vec3(-0.55, -0.80, -0.75))), 0.0);
  light += vec3(0.22, 0.25, 0.30) * max(dot(m, normalize(vec3(0.85, -0.05, -0.60))), 0.0);
  light += vec3(0.62, 0.66, 0.72) * max(dot(m, normalize(vec3(0.45, -0.55, 0.70))), 0.0);
  vec3 linear = pow(albedo, vec3(2.2)) * light;
  seen = vec4(pow(min(linear, 1.0), vec3(1.0 / 2.2)) * alpha, alpha);
}`;

export class Viewer {
  // Null where the browser has no WebGL 2.
  static on(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: true, premultipliedAlpha: true });
    return gl && new Viewer(canvas, gl);
  }

  constructor(canvas, gl) {
    Object.assign(this, { canvas, gl, bodies: [], camera: null, asked: false, kept: new Map() });
    this.#build();
    new ResizeObserver(() => this.show(this.bodies, this.camera)).observe(canvas);
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.kept.clear();
      this.#build();
      this.show(this.bodies, this.camera);
    });
  }

  // Of another photo: what was uploaded for the last one is dropped.
  useFaces(faces) {
    const { gl, kept } = this;
    for (const { array, buffers } of kept.values()) {
      gl.deleteVertexArray(array);
      for (const buffer of Object.values(buffers)) gl.deleteBuffer(buffer);
    }
    kept.clear();
    this.faces = faces;
    gl.bindVertexArray(null);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.faceBuffer);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
  }

  // Bodies are {mesh, color, alpha, shift}, the color one RGB in 0..1 or one for each vertex, the shift in metres; the
  // camera is a function of width and height to {view, projection}.
  show(bodies, camera) {
    Object.assign(this, { bodies, camera });
    if (this.asked || !camera) return;
    this.asked = true;
    requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.asked = false;
    const { gl, canvas, bodies, program } = this;
    const ratio = Math.min(devicePixelRatio, 2);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * ratio));
    if (!width || !height || gl.isContextLost()) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const { view, projection } = this.camera(width, height);
    gl.uniformMatrix4fv(gl.getUniformLocation(program, "view"), false, view);
    gl.uniformMatrix4fv(gl.getUniformLocation(program, "projection"), false, projection);
    // Solid bodies first: ghosts are seen where they part from them.
    const solidFirst = [...bodies].sort((a, b) => (b.alpha ?? 1) - (a.alpha ?? 1));
    for (const { mesh, color, alpha = 1, shift = [0, 0, 0] } of solidFirst) {
      gl.depthMask(alpha === 1);
      gl.uniform1f(gl.getUniformLocation(program, "alpha"), alpha);
      gl.uniform3f(gl.getUniformLocation(program, "shift"), ...shift);
      this.#bind(mesh, color);
      gl.drawElements(gl.TRIANGLES, this.faces.length, gl.UNSIGNED_INT, 0);
    }
    gl.depthMask(true);
  }

  #build() {
    const { gl } = this;
    this.program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    ["position", "normal", "color"].forEach((name, place) => gl.bindAttribLocation(this.program, place, name));
    gl.linkProgram(this.program);
    gl.useProgram(this.program);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.faceBuffer = gl.createBuffer();
    if (this.faces) this.useFaces(this.faces);
  }

  #bind(mesh, color) {
    const { gl, kept, faceBuffer } = this;
    if (!kept.has(mesh)) {
      const array = gl.createVertexArray();
      const buffers = { position: gl.createBuffer(), normal: gl.createBuffer(), color: gl.createBuffer() };
      gl.bindVertexArray(array);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, faceBuffer);
      [mesh.positions, mesh.normals].forEach((values, place) => {
        gl.bindBuffer(gl.ARRAY_BUFFER, Object.values(buffers)[place]);
        gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
        gl.enableVertexAttribArray(place);
        gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 0, 0);
      });
      kept.set(mesh, { array, buffers });
    }
    const { array, buffers } = kept.get(mesh);
    gl.bindVertexArray(array);
    if (color.length === 3) {
      gl.disableVertexAttribArray(2);
      gl.vertexAttrib3f(2, ...color);
    } else {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers.color);
      gl.bufferData(gl.ARRAY_BUFFER, color, gl.DYNAMIC_DRAW);
      gl.enableVertexAttribArray(2);
      gl.vertexAttribPointer(2, 3, gl.FLOAT, false, 0, 0);
    }
  }
}

// The photo's own camera; the canvas covers the photo, whatever its size.
export function photoCamera(picture) {
  const { intrinsics, width_px: width, height_px: height } = picture;
  const view = Float32Array.of(1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1);
  const projection = pinhole(intrinsics.focal_px, intrinsics.center_px, width, height, 0.05, 1000);
  return () => ({ view, projection });
}

export function pinhole(focal, [x, y], width, height, near, far) {
  const depth = (far + near) / (far - near);
  // Columns, as WebGL wants them.
  return Float32Array.of(
    (2 * focal) / width, 0, 0, 0,
    0, (-2 * focal) / height, 0, 0,
    (2 * x) / width - 1, 1 - (2 * y) / height, depth, 1,
    0, 0, (-2 * far * near) / (far - near), 0,
  );
}
