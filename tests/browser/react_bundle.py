"""React of npm for a page without a bundler: its CommonJS files in one ES module for each name that is imported."""

from __future__ import annotations

import json
from pathlib import Path

from tests.node_packages import node, run

# The files needed of each package, by the names under which they require each other.
FILES = {
    "react": "react/cjs/react.development.js",
    "scheduler": "scheduler/cjs/scheduler.development.js",
    "react-dom": "react-dom/cjs/react-dom.development.js",
    "react-dom/client": "react-dom/cjs/react-dom-client.development.js",
}
LOADER = """
const makers = {%s};
const loaded = {};
export function load(name) {
  if (!(name in loaded)) {
    const module = { exports: (loaded[name] = {}) };
    makers[name](module, module.exports, load, { env: { NODE_ENV: "development" } });
    loaded[name] = module.exports;
  }
  return loaded[name];
}
"""


def modules(packages: Path) -> dict[str, str]:
    """Path -> source: /react.js and /react-dom-client.js, which export what the packages do."""
    makers = ",\n".join(
        f"{json.dumps(name)}: (module, exports, require, process) => {{ {(packages / file).read_text()} }}"
        for name, file in FILES.items()
    )
    return {
        "/loader.js": LOADER % makers,
        "/react.js": _exports("react", packages),
        "/react-dom-client.js": _exports("react-dom/client", packages),
    }


def _exports(name: str, packages: Path) -> str:
    asked = f"console.log(JSON.stringify(Object.keys(require({json.dumps(name)}))))"
    names = json.loads(run([node(), "-e", asked], packages.parent))
    lines = "".join(f"export const {each} = it.{each};\n" for each in names)
    return f'import {{ load }} from "./loader.js";\nconst it = load({json.dumps(name)});\n{lines}export default it;\n'
