// What is secret stays where it is, and errors between here and the service are told by their cause:
// the real OpenCode, and everything that it wrote down, said, or sent to the model.

import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"
import { createWorld, eventually, startLocal } from "../lib/world.mjs"

let local
before(async () => (local = await startLocal()))
after(() => local.stop())

/** Toasts of an OpenCode, as they come. */
async function toasts(opencode) {
  const shown = []
  const stop = await opencode.watch(({ type, properties }) => type === "tui.toast.show" && shown.push(properties))
  return { shown, stop }
}

/** One prompt in a world of its own; gives all that left OpenCode and the plugin. */
async function tried({ script = [{ calls: [["bash", { command: "true" }]] }], ...options }) {
  const world = await createWorld({ local: null, files: { a: "1\n" }, scripts: { try: script }, ...options })
  try {
    const opencode = await world.serve()
    const { shown, stop } = await toasts(opencode)
    const session = await opencode.session()
    const results = await opencode.prompt(session, "script:try")
    const messages = await opencode.request("GET", `/session/${session}/message`)
    await eventually("the failure is shown", () => shown.length > 0 || results.every(({ status }) => status === "completed"))
    await stop()
    await opencode.stop()
    const [result] = results
    const sent = JSON.stringify(world.model.requests)
    const store = world.store()
    return { result, shown, store, all: [JSON.stringify(messages), sent, world.logs(), JSON.stringify(store ?? {}), JSON.stringify(shown)].join("\n") }
  } finally {
    await world.close()
  }
}

describe("a key that no request can carry", () => {
  for (const [name, odd] of [["a zero-width space", "\u200b"], ["a carriage return", "\r"]]) {
    test(`${name} in it is named, and the key is shown nowhere`, async () => {
      const [head, tail] = [local.apiKey.slice(0, 20), local.apiKey.slice(20)]
      const env = { DAYTONA_API_URL: local.url, DAYTONA_API_KEY: head + odd + tail }
      const { result, all, shown } = await tried({ env })
      assert.match(result.error, /DAYTONA_API_KEY \(in the environment\) has .* at position 21 of \d+/)
      assert.match(JSON.stringify(shown), /at position 21/)
      assert.ok(!all.includes(head) && !all.includes(tail), all)
    })
  }
})

test("a key that a file of the sandbox or the user's prompt holds is not sent to the model", async () => {
  const { result, all } = await tried({
    env: { DAYTONA_API_URL: local.url, DAYTONA_API_KEY: local.apiKey },
    script: [{ calls: [["bash", { command: `printf %s '${local.apiKey.slice(0, 16)}' > k; printf %s '${local.apiKey.slice(16)}' >> k; cat k` }]] }],
  })
  assert.match(result.output, /\[hidden: DAYTONA_API_KEY\]/)
  // The model wrote the two halves itself; the whole is nowhere.
  assert.ok(!all.includes(local.apiKey), all)
})
