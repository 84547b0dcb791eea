// The plugin's tools against OpenCode's own: the written table of tests/parity, and a few generated
// calls of a fixed seed. Many more of these: `npm run parity`.

import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"
import { openArena } from "../parity/arena.mjs"
import { deviations } from "../parity/compare.mjs"
import { describe as text, runSession } from "../parity/generated.mjs"
import { groups, named, runGroup } from "../parity/table.mjs"

const LANES = 3
const SEED = 150
const SESSIONS = 6

const arena = await openArena({ lanes: LANES })
after(() => arena.close())

/** Runs `work` for all items, as many at a time as there are lanes; gives a promise for each. */
function inLanes(items, work) {
  const lanes = Array.from({ length: LANES }, () => Promise.resolve())
  return items.map((item, index) => (lanes[index % LANES] = lanes[index % LANES].catch(() => {}).then(() => work(item))))
}

const outcomes = inLanes(groups, (group) => runGroup(arena, group))
for (const outcome of outcomes) outcome.catch(() => {})

for (const [index, group] of groups.entries()) {
  describe(`like OpenCode's own: ${group.name}`, () => {
    let outcome
    before(async () => (outcome = await outcomes[index]))
    for (const [at, [tool, args, id]] of group.rows.entries()) {
      test(`${tool} ${JSON.stringify(args).slice(0, 110)}${id ? ` (differs on purpose: ${id})` : ""}`, () => assert.equal(outcome.rows[at].wrong, ""))
    }
    test(`the tree afterwards${group.trees ? ` (differs on purpose: ${group.trees})` : ", modes included"}`, () => assert.equal(outcome.tree.wrong, ""))
  })
}

test("every deviation is written down, and every one that is written down is shown", () => {
  const listed = Object.keys(deviations())
  assert.deepEqual(listed.toSorted(), [...named()].toSorted())
  assert.ok(listed.length <= 15, `${listed.length} deviations`)
})

test(`${SESSIONS * 25} generated calls`, async () => {
  await Promise.allSettled(outcomes)
  const numbers = Array.from({ length: SESSIONS }, (_, number) => number)
  const runs = await Promise.all(inLanes(numbers, (number) => runSession(arena, SEED, number)))
  assert.equal(runs.flatMap(({ failures }) => failures.map((failure) => text(SEED, failure))).join("\n\n"), "")
})
