/** Light, dark, or as the system has it. */

import { byId } from "./elements.js";

const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };
const WORDS = { auto: "as the system", light: "light", dark: "dark" };

export function startTheme() {
  show(remembered());
  byId("theme").addEventListener("click", () => {
    const names = Object.keys(NAMES);
    const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    show(next);
    try {
      localStorage.setItem("fastws.theme", next);
    } catch {
      // Where storage is forbidden the choice holds for this visit.
    }
  });
}

function show(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme-name").textContent = NAMES[theme];
  byId("theme").setAttribute("aria-label", `Colours: ${WORDS[theme]}`);
}

function remembered() {
  try {
    const theme = localStorage.getItem("fastws.theme");
    return theme in NAMES ? theme : "auto";
  } catch {
    return "auto"; // storage is forbidden
  }
}
