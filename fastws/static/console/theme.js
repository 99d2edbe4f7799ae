/** Colour theme: light, dark, or the setting of the system. */

import { byId } from "./elements.js";

const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };
const LABELS = { auto: "system setting", light: "light", dark: "dark" };

export function startTheme() {
  show(storedTheme());
  byId("theme").addEventListener("click", () => {
    const names = Object.keys(NAMES);
    const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    show(next);
    try {
      localStorage.setItem("fastws.theme", next);
    } catch {
      // Storage is not allowed: the choice lasts until the page is closed.
    }
  });
}

function show(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme-name").textContent = NAMES[theme];
  byId("theme").setAttribute("aria-label", `Colours: ${LABELS[theme]}`);
}

function storedTheme() {
  try {
    const theme = localStorage.getItem("fastws.theme");
    return theme in NAMES ? theme : "auto";
  } catch {
    return "auto"; // storage is not allowed
  }
}
