/** Finding and making elements. Text is always set as text: nothing that came over the wire is read as markup. */

export function byId(id) {
  return document.getElementById(id);
}

/** `make("td", {className: "number"}, "5")`: properties by name, attributes with a dash in it or `role`. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Puts `text` on the clipboard; returns whether that worked (it needs https or this machine, or an old browser). */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http on another machine has no clipboard: the way of old browsers still works there.
    const area = make("textarea", { value: text, className: "unseen", readOnly: true });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Shows for a moment on `button` how it went. */
export function flash(button, text) {
  const before = (button.dataset.label ??= button.textContent);
  button.textContent = text;
  clearTimeout(button.flashing);
  button.flashing = setTimeout(() => (button.textContent = before), 1500);
}

/** "1 channel", "2,000 channels" */
export function counted(number, noun) {
  return `${Number.isFinite(number) ? number.toLocaleString() : "–"} ${noun}${number === 1 ? "" : "s"}`;
}

/** `text` with all of a value that JSON has no words for in some that people understand. */
export function inWords(value, space) {
  return JSON.stringify(
    value,
    (_, item) => {
      if (typeof item === "bigint") return `${item}n`;
      if (item instanceof Uint8Array) return `<${item.length} bytes: ${hex(item)}>`;
      return item;
    },
    space,
  );
}

function hex(bytes) {
  const shown = Array.from(bytes.subarray(0, 32), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return bytes.length > 32 ? `${shown} …` : shown;
}
