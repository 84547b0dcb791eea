// What releases up to 1.3 load, without one of them: the end-to-end tests have the real ones.

import assert from "node:assert/strict"
import { test } from "node:test"
import * as loaded from "../dist/old.js"
import { catalog } from "../dist/generated/catalog.js"

const { default: old } = loaded
const answers = (data) => ({ _client: { get: async ({ url }) => (assert.equal(url, "/global/health"), { data }) } })

/** The hooks, when the release is known. */
async function load(client) {
  const { SHELL, OPENCODE_DAYTONA_REFUSED } = process.env
  try {
    const hooks = await old({ client })
    await new Promise((done) => setImmediate(done))
    return { hooks, env: { SHELL: process.env.SHELL, OPENCODE_DAYTONA_REFUSED: process.env.OPENCODE_DAYTONA_REFUSED } }
  } finally {
    for (const [name, value] of Object.entries({ SHELL, OPENCODE_DAYTONA_REFUSED })) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

test("these releases call everything that is exported, so it is one function", () => {
  assert.deepEqual(Object.keys(loaded), ["default"])
  assert.equal(typeof old, "function")
})

for (const [what, client, release] of [
  ["says its release", answers({ healthy: true, version: "1.2.27" }), "1.2.27"],
  ["answers something else", answers("<html>"), "an older one"],
  ["never answers", { _client: { get: () => new Promise(() => {}) } }, "an older one"],
  ["has no such client", undefined, "an older one"],
]) {
  test(`every tool refuses and nothing is thrown while loading where OpenCode ${what}`, async () => {
    const { hooks, env } = await load(client)
    for (const name of [...catalog.map((tool) => tool.name), "list", "patch", "multiedit", "batch", "codesearch", "lsp", "task", "skill"]) {
      await assert.rejects(hooks.tool[name].execute({}, {}), new RegExp(`needs OpenCode 1\\.15\\.13 or later, and this is ${release}: .*nothing runs`), name)
    }
    for (const tool of ["bash", "task", "something_new", "server_tool"]) await assert.rejects(hooks["tool.execute.before"]({ tool }, { args: {} }), /nothing runs/, tool)
    for (const tool of ["question", "todowrite", "todoread", "invalid"]) await hooks["tool.execute.before"]({ tool }, { args: {} })
    assert.match(env.SHELL, /sandbox-shell$/)
    assert.ok(env.OPENCODE_DAYTONA_REFUSED.includes(`this is ${release}`))
  })
}

test("commands in templates are not run, and what was read of files goes no further", async () => {
  const { hooks } = await load(undefined)
  const config = { command: { greet: { template: "say !`hostname` and !`id` loudly!" } } }
  await hooks.config(config)
  assert.equal(config.command.greet.template, "say `hostname` and `id` loudly!")
  await hooks.config({})
  const parts = [{ type: "text", text: "typed" }, { type: "text", synthetic: true, text: "the file" }, { type: "file", url: "file:///a" }]
  await hooks["chat.message"]({}, { message: {}, parts })
  assert.deepEqual(parts, [{ type: "text", text: "typed" }])
})
