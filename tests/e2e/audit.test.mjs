// The audit: every known way to the host, in every state of the plugin. By hand: `npm run audit`.

import assert from "node:assert/strict"
import { test } from "node:test"
import { audit } from "../audit/audit.mjs"

test("no way leads from the model to the host, in any state of the plugin", async () => {
  const { lines, effects, secrets, problems, rows, states } = await audit()
  const text = `\n${lines.join("\n")}\n`
  assert.ok(rows >= 40 && states === 5, text)
  assert.deepEqual(problems, [], text)
  assert.equal(secrets, 0, text)
  assert.equal(effects.length, 0, text)
})
