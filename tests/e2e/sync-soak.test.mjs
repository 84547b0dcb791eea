// A short soak of session sync; `npm run soak -- --shape sync` is the long one.

import assert from "node:assert/strict"
import { test } from "node:test"
import { packedPackage } from "../lib/world.mjs"
import { plan, soakSync } from "../soak/sync.mjs"

packedPackage("packages/session-sync")

const sizes = { seed: 6, sessions: 10 }

test("after ten sessions with faults, kills, forks, undo and deletions the store has what OpenCode has, once", async (t) => {
  const result = await soakSync({ ...sizes, say: (line) => t.diagnostic(line) })
  assert.deepEqual(Object.entries(result.complaints).filter(([, complaints]) => complaints.length), [])
  assert.ok(result.turns > 10, `only ${result.turns} turns`)
  assert.ok(result.faults > 0, "no request failed")
})

test("a seed gives the same plan again, and another seed another one", () => {
  assert.deepEqual(plan(sizes), plan(sizes))
  assert.notDeepEqual(plan(sizes), plan({ ...sizes, seed: 7 }))
})
