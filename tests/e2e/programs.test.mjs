// OpenCode and a sandbox find the programs that set-up names, and no other: so what a test needs and
// the list lacks is missing on every machine.

import assert from "node:assert/strict"
import { readdirSync, realpathSync } from "node:fs"
import { test } from "node:test"
import { ripgrep, searchPath } from "../lib/programs.mjs"
import { createWorld } from "../lib/world.mjs"

const names = readdirSync(searchPath()).sort()
/** The PATH, which rg that is, and all that is there. */
const command = "echo \"$PATH\"; type -P rg || echo no rg; IFS=:; ls -1 $PATH"
/** Not the list itself, but what follows from it. */
const NEVER = ["cargo", "rustc", "cc", "make", "apt-get", "npx", "perl", "vi"]

async function found(plugin) {
  const world = await createWorld({ files: { "a.txt": "a\n" }, config: plugin ? {} : { plugin: [] }, ...(plugin ? {} : { local: null }), scripts: { look: [{ calls: [["bash", { command }]] }] } })
  try {
    const { tools, stderr } = await world.run("script:look")
    assert.equal(tools[0]?.status, "completed", stderr)
    const [path, rg, ...there] = tools[0].output.trimEnd().split("\n")
    return { path, rg, there: there.sort() }
  } finally {
    await world.close()
  }
}

test("OpenCode finds the named programs, and the rg of npm", async () => {
  const { path, rg, there } = await found(false)
  assert.equal(path, searchPath())
  assert.equal(realpathSync(rg), realpathSync(ripgrep()))
  assert.deepEqual(there, names)
  for (const name of NEVER) assert.ok(!names.includes(name), name)
})

test("a sandbox finds the named programs", async () => {
  const { path, rg, there } = await found(true)
  assert.equal(path, "/opt/daytona/programs")
  // The link is there, but the npm packages are not.
  assert.equal(rg, "no rg")
  assert.deepEqual(there, names)
})
