// The audit: every known way to the host, where the plugin serves, where its core cannot be loaded, and where OpenCode is
// alone with the README's configuration. `npm run audit` tries every state with every configuration.

import assert from "node:assert/strict"
import { test } from "node:test"
import { audit } from "../audit/audit.mjs"

test("no way leads from the model to the host, whether the plugin serves, refuses or is not there", async () => {
  const { lines, effects, secrets, problems, rows, rounds } = await audit({ some: ({ config, state }) => state === "missing" || (config === "plain" && ["healthy", "corrupt"].includes(state)) })
  // What failed comes first: of a long text a report keeps the beginning.
  const told = [...problems, ...effects.map((effect) => JSON.stringify(effect))]
  const text = `${rows} rows, ${rounds} rounds, ${secrets} secrets\n${told.join("\n")}\n${lines.join("\n")}\n`
  assert.ok(rows >= 70 && rounds === 3, text)
  assert.deepEqual(problems, [], text)
  assert.equal(secrets, 0, text)
  assert.equal(effects.length, 0, text)
})
