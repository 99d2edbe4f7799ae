/** Finding and making elements. Text is always set as text, so that received data is never parsed as HTML. */

export function byId(id) {
  return document.getElementById(id);
}

/** Call `action` instead of what `kind` of event does by default on the element `id`. */
export function on(id, kind, action) {
  byId(id).addEventListener(kind, (event) => {
    event.preventDefault();
    action();
  });
}

/** `make("td", {className: "number"}, "5")`. Names with a dash, `role` and `scope` are attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Copy `text` to the clipboard. Returns whether that worked. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard API needs https or localhost. Elsewhere, the older execCommand still works.
    const area = make("textarea", { value: text, className: "unseen", readOnly: true });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Show `text` on `button` for 1.5 s. */
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

/** Return `value` as JSON for people: with text for bytes and big integers, which JSON cannot express. */
export function asText(value, space) {
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
