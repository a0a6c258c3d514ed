// Making elements, and changing of them only what differs, so that text can be
// selected and nothing flickers.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes, text) {
  const made = set(document.createElement(name), attributes);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** An element of SVG. */
export function shape(name, attributes) {
  return set(document.createElementNS(SVG, name), attributes);
}

/** One child for each item: those that are missing are made, all are changed. */
export function each(parent, items, make, change) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, place) => {
    if (place === parent.children.length) parent.append(make(item));
    change(parent.children[place], item, place);
  });
}

export function say(place, words) {
  const wanted = String(words);
  if (place.textContent !== wanted) place.textContent = wanted;
}

export const at = (id) => document.getElementById(id);

function set(made, attributes) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
