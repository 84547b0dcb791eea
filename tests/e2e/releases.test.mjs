// Two of the releases of OpenCode that `npm run matrix` runs, in a short form: one that the plugin refuses,
// and the oldest that it serves. And the README's table is about the list of releases.

import assert from "node:assert/strict"
import { describe, test } from "node:test"
import { FLOOR, NPM_TEST, PINNED, RELEASES, compareVersions } from "../lib/releases.mjs"
import { matrix, SHORT_ROWS } from "../matrix/matrix.mjs"
import { table } from "../matrix/table.mjs"

describe("a release of OpenCode, in a short form:", () => {
  for (const entry of RELEASES.filter(({ version }) => NPM_TEST.includes(version))) {
    test(`OpenCode ${entry.version}: the plugin ${entry.expect}`, async () => {
      const results = await matrix(entry, { short: true, only: ["smoke", "audit"], configs: ["plain"] })
      const problems = [...results].flatMap(([part, { problems }]) => problems.map((problem) => `${part}: ${problem}`))
      assert.equal(problems.join("\n"), "")
      assert.deepEqual([...results.keys()], ["smoke", "audit"])
      assert.equal(results.get("audit").passed, SHORT_ROWS.length)
    })
  }
})

test("the floor and the pinned release are those that the plugin names when it refuses", async () => {
  const { refusals } = await import("../../plugin-shim/dist/generated/refusals.js")
  const { text } = refusals.tooOld
  assert.ok(text.includes(`needs OpenCode ${FLOOR} or later`) && text.includes(`opencode upgrade ${PINNED}`), text)
})

test("the list is in order, refuses below the floor and serves from there on, and ends with the pinned release", () => {
  const versions = RELEASES.map(({ version }) => version)
  assert.deepEqual(versions, versions.toSorted(compareVersions))
  assert.equal(versions.at(-1), PINNED)
  for (const { version, expect } of RELEASES) assert.equal(expect, compareVersions(version, FLOOR) < 0 ? "refuses" : "serves", version)
  for (const version of NPM_TEST) assert.ok(versions.includes(version), version)
})

test("the README's table has every release of the list, with what is expected of it, and nothing failed", () => {
  const { lines } = table()
  // A run with a newer release, or with OpenCode 2, may have added a line.
  for (const { version, expect } of RELEASES) assert.ok(lines.get(version)?.startsWith(`| ${version} | ${expect} |`), version)
  for (const line of lines.values()) assert.doesNotMatch(line, /failed|installed/)
})
