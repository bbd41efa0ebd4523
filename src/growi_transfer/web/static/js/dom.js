// Builds elements. Everything that is put in is text: nothing here, and nothing in any other script, is read as HTML.

const PROPERTIES = new Set(["checked", "disabled", "hidden", "indeterminate", "open", "readOnly", "required", "selected", "value"]);
const OWN_ADDRESS = /^(\/(?!\/)|#|blob:)/;
const SVG = "http" + "://www.w3.org/2000/svg"; // a name, not an address

/**
 * An element: `h("a", { class: "button", href: "/source", on: { click } }, "text", [more, children], null)`.
 * Children are elements, texts, numbers or lists of these; null, undefined and false are left out. Of the props `on` holds
 * listeners, `dataset` data attributes, `checked`, `value` and the like are properties, all else is an attribute
 * (true: without a value; null, undefined, false: none). Addresses lead to this server only.
 */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same for SVG: `svg("path", { d })`. */
export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

/** Replace what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(isShown));
  return element;
}

/** Set a text only when it differs: a screen reader and a selection are left alone. */
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** The one element of the page with this id. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found;
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) setProp(element, name, value);
  element.append(...children.flat(Infinity).filter(isShown));
  return element;
}

function isShown(child) {
  return child !== null && child !== undefined && child !== false;
}

function setProp(element, name, value) {
  if (name === "on") {
    for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
  } else if (name === "dataset") {
    Object.assign(element.dataset, value);
  } else if (PROPERTIES.has(name)) {
    element[name] = value;
  } else if (value === null || value === undefined || value === false) {
    element.removeAttribute(name);
  } else {
    if (/^on|^style$|^srcdoc$/i.test(name)) throw new Error(`${name} is not set here`);
    if (/^(href|src|action|formaction)$/i.test(name) && !OWN_ADDRESS.test(value)) throw new Error(`${value} is no address of ours`);
    element.setAttribute(name, value === true ? "" : String(value));
  }
}
