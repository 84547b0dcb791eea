// The audit: every known way to the host, in every state of the plugin. With the README's configuration only
// in the two states that differ most, the others are left to `npm run audit`, which tries them all.

import assert from "node:assert/strict"
import { test } from "node:test"
import { audit } from "../audit/audit.mjs"

test("no way leads from the model to the host, in any state of the plugin", async () => {
  const { lines, effects, secrets, problems, rows, rounds } = await audit({ some: ({ config, state }) => config === "plain" || ["healthy", "missing"].includes(state) })
  // What failed comes first: of a long text a report keeps the beginning.
  const told = [...problems, ...effects.map((effect) => JSON.stringify(effect))]
  const text = `${rows} rows, ${rounds} rounds, ${secrets} secrets\n${told.join("\n")}\n${lines.join("\n")}\n`
  assert.ok(rows >= 70 && rounds === 6, text)
  assert.deepEqual(problems, [], text)
  assert.equal(secrets, 0, text)
  assert.equal(effects.length, 0, text)
})
