// Makes elements. Nothing is made from text that could be markup.

export function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

// Of an SVG.
export function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
