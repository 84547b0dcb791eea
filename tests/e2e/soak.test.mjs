// A short soak; `npm run soak` is the long one.

import assert from "node:assert/strict"
import { test } from "node:test"
import { soak } from "../soak/soak.mjs"
import { plan } from "../soak/plan.mjs"

const sizes = { seed: 1, turns: 30, sessions: 4, processes: 2, faults: 5, killEvery: 10 }

test("after thirty turns with faults and kills, all that was promised is home and nothing else changed", async (t) => {
  const result = await soak({ ...sizes, say: (line) => t.diagnostic(line) })
  assert.deepEqual(Object.entries(result.complaints).filter(([, complaints]) => complaints.length), [])
  assert.equal(result.kills, 3)
  assert.ok(result.promises > 20, `only ${result.promises} promises`)
})

test("a seed gives the same plan again, and another seed another one", () => {
  assert.deepEqual(plan(sizes), plan(sizes))
  assert.notDeepEqual(plan(sizes), plan({ ...sizes, seed: 2 }))
})
