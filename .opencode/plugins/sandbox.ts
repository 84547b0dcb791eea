// Running `opencode` in this repository uses the plugin that `npm run build` made here. Without a
// build its tools are registered all the same and refuse, because otherwise OpenCode would run its
// own on this machine.

import { catalog } from "../../plugin-shim/src/generated/catalog.ts"
import { setup } from "../../plugin-shim/src/two.ts"

const refuse = async () => {
  throw new Error("the plugin of this repository is not built: run `npm run build`, then start OpenCode again")
}
const refusing = {
  id: "opencode-daytona-sandbox",
  server: async () => ({
    tool: Object.fromEntries(catalog.map(({ name, description }) => [name, { description, args: {}, execute: refuse }])),
  }),
  setup,
}

export default await import("../../dist/index.js").then((built) => built.default).catch(() => refusing)
