/** The three views as tabs, with the keys of the ARIA tabs pattern. */

import { byId } from "./elements.js";

const TABS = ["tab-log", "tab-people", "tab-channels"];

/** `shown(panel id)` is called when a view is opened. */
export function startTabs(shown) {
  const tabs = TABS.map(byId);
  const open = (tab) => {
    for (const each of tabs) {
      const isOpen = each === tab;
      each.setAttribute("aria-selected", String(isOpen));
      each.tabIndex = isOpen ? 0 : -1;
      byId(each.getAttribute("aria-controls")).hidden = !isOpen;
    }
    shown(tab.getAttribute("aria-controls"));
  };
  tabs.forEach((tab, position) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const to = { ArrowRight: position + 1, ArrowLeft: position - 1, Home: 0, End: tabs.length - 1 }[key];
      if (to === undefined) return;
      const next = tabs[(to + tabs.length) % tabs.length];
      next.focus();
      open(next);
    });
  });
}
