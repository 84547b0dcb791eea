// Running `opencode` in this repository uses the plugin that `npm run build` made here. Without a
// build its tools are registered all the same and refuse, because otherwise OpenCode would run its
// own on this machine.

import { catalog } from "../../plugin-shim/src/generated/catalog.ts"
import { NAME } from "../../plugin-shim/src/name.ts"
import { type Context, setup } from "../../plugin-shim/src/two.ts"
import { message } from "../../packages/shared/told.ts"

const refuse = async () => {
  throw new Error("the plugin of this repository is not built: run `npm run build`, then start OpenCode again")
}
const refusing = {
  id: NAME,
  server: async () => ({
    tool: Object.fromEntries(catalog.map(({ name, description }) => [name, { description, args: {}, execute: refuse }])),
  }),
  setup: (context: Context) => setup(context, message),
}

export default await import("../../plugin-shim/dist/index.js").then((built) => built.default).catch(() => refusing)
