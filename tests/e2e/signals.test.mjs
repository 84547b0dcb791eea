// A signal ends OpenCode without a word to its plugins. What the turn has made until then comes home all the same.

import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { describe, test } from "node:test"
import { createWorld, eventually, git, opencodeBinary, packedPackage } from "../lib/world.mjs"

packedPackage()

const scripts = { go: [{ calls: [["bash", { command: "echo made > made.txt; sleep 600" }]] }] }

/** True if the turn's command runs, and so has made its file. */
async function runs({ local }) {
  const sandboxes = await local.sandboxes()
  const processes = await Promise.all(sandboxes.map(({ id }) => local.control("GET", `/_test/processes/${id}`)))
  return JSON.stringify(processes).includes("sleep 600")
}

const faces = {
  async serve(world) {
    const opencode = await world.serve()
    const session = await opencode.session()
    opencode.prompt(session, "script:go").catch(() => {})
    return opencode.child
  },
  run: async (world) => spawn(opencodeBinary(), ["run", "--format", "json", "script:go"], { cwd: world.project, env: world.environment, stdio: "ignore" }),
}

describe("what a running turn has made comes home before the process ends:", () => {
  for (const [face, signal] of [["serve", "SIGTERM"], ["serve", "SIGINT"], ["serve", "SIGHUP"], ["run", "SIGTERM"], ["run", "SIGINT"]]) {
    test(`${face}, ${signal}`, async () => {
      const world = await createWorld({ files: { "a.txt": "a\n" }, scripts })
      try {
        const child = await faces[face](world)
        await eventually("the command runs", () => runs(world))
        assert.equal(git(world.project, "branch", "--list", "opencode/*"), "", "nothing is home yet")
        const ended = once(child, "exit")
        child.kill(signal)
        assert.deepEqual(await ended, [null, signal], "it ends as it would without the plugin")
        assert.equal(git(world.project, "show", "opencode/1:made.txt"), "made")
      } finally {
        await world.close()
      }
    })
  }
})
