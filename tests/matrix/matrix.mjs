// `npm run matrix`: does the plugin hold its promises, or refuse in plain words, on every release of
// OpenCode in the list (tests/lib/releases.mjs) and on the newest of all?
//
// For each release: a smoke (smoke.mjs), the user's rules with the plugin and without it
// (permissions.mjs), end-to-end tests, and the audit with both configurations. One line for each
// part, then a table, and `N passed, N failed`.
//
// Options: --release VERSION (may be repeated); --short (smoke, a few permission rows, and a few rows of
// the audit with a healthy plugin); --part NAME (may be repeated); --write puts the table of what was run
// into README.md. With OPENCODE2_BIN=FILE in the environment, that OpenCode 2 is tried, too (two.mjs).

import { spawn } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { audit } from "../audit/audit.mjs"
import { rows } from "../audit/round.mjs"
import { Count } from "../lib/count.mjs"
import { ensureRelease, newerThanList, RELEASES } from "../lib/releases.mjs"
import { prepare } from "../lib/setup.mjs"
import { packedPackage, root } from "../lib/world.mjs"
import { permissions } from "./permissions.mjs"
import { smoke } from "./smoke.mjs"
import { line, write } from "./table.mjs"
import { two } from "./two.mjs"

/** What is run end to end with another release than the pinned one, where the plugin serves. */
const E2E = ["session", "home", "closed", "typed", "carry"]
/** Rows of the audit in a short run: each kind of effect, of the model and of the user. */
export const SHORT_ROWS = ["bash", "read", "write", "apply-patch", "task-at", "shell", "command-file", "attach", "run", "face-run", "face-acp"]

/** Of checks `{ name, error }`: how many passed, and what failed. */
const tally = (checks) => ({ passed: checks.filter(({ error }) => !error).length, problems: checks.filter(({ error }) => error).map(({ name, error }) => `${name}: ${error}`) })

/** The parts; each gives `{ passed, problems }`, and what goes into the table. `serves`: only where the plugin does. */
export const parts = {
  smoke: { run: async () => tally(await smoke()) },
  permissions: { serves: true, run: async ({ short }) => tally(await permissions({ short })) },
  "end to end": { serves: true, long: true, run: endToEnd },
  audit: { run: runAudit },
}

async function endToEnd() {
  const count = new Count()
  const args = ["--test", "--test-reporter=tap", "--test-concurrency=2", ...E2E.map((name) => join(root, `tests/e2e/${name}.test.mjs`))]
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] })
  let text = ""
  child.stdout.on("data", (data) => (text += data))
  const code = await new Promise((done) => child.once("close", done))
  count.node("end to end", code, text)
  const failed = [...text.matchAll(/^ *not ok \d+ - (.*)$/gm)].map(([, name]) => name)
  return { passed: count.passed, problems: count.failures.length ? (failed.length ? failed : count.failures) : [] }
}

async function runAudit({ short, configs, say }) {
  const chosen = short ? rows.filter(({ id }) => SHORT_ROWS.includes(id)) : rows
  const { effects, problems, rows: tried, rounds, closed } = await audit({ chosen, states: short ? ["healthy"] : undefined, configs, say })
  const of = effects.map(({ row, round, kind, what }) => `HOST EFFECT ${round} ${row} ${kind}: ${what}`)
  const cells = new Set(effects.map(({ row, round }) => `${row} ${round}`)).size
  return { passed: tried * rounds - cells, problems: [...new Set(of), ...problems], tried, rounds, closed }
}

/** Runs one release; gives the result of each part by its name. */
export async function matrix({ version, expect, more }, { short = false, only, configs, say = () => {} } = {}) {
  const results = new Map()
  const before = process.env.OPENCODE_RELEASE
  try {
    process.env.OPENCODE_RELEASE = ensureRelease(version, { more })
    for (const [name, part] of Object.entries(parts)) {
      if ((only && !only.includes(name)) || (part.serves && expect !== "serves") || (part.long && short)) continue
      const started = Date.now()
      const result = await part.run({ short, configs, say }).catch((error) => ({ passed: 0, problems: [`${name} did not end: ${error.stack}`] }))
      result.seconds = (Date.now() - started) / 1000
      results.set(name, result)
      say(`${version.padEnd(9)} ${name.padEnd(12)} ${result.problems.length ? "FAILED" : "ok    "} ${String(result.passed).padStart(5)} passed ${String(result.problems.length).padStart(4)} failed ${result.seconds.toFixed(1).padStart(8)} s`)
      for (const problem of result.problems) say(`    ${problem.slice(0, 1000)}`)
    }
  } catch (error) {
    results.set("installation", { passed: 0, problems: [error.message], seconds: 0 })
    say(`${version.padEnd(9)} installation FAILED: ${error.message}`)
  } finally {
    if (before === undefined) delete process.env.OPENCODE_RELEASE
    else process.env.OPENCODE_RELEASE = before
  }
  return results
}

/** The releases that were asked for, or all, with the newest; `problems` if npm does not say which that is. */
function chosen(versions) {
  if (versions) return { list: versions.map((version) => RELEASES.find((entry) => entry.version === version) ?? { version, expect: "serves", why: "asked for" }), problems: [] }
  try {
    return { list: [...RELEASES, newerThanList()].filter(Boolean), problems: [] }
  } catch (error) {
    return { list: RELEASES, problems: [error.message] }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const many = { type: "string", multiple: true }
  const { values } = parseArgs({ options: { release: many, part: many, short: { type: "boolean" }, write: { type: "boolean" } } })
  for (const name of values.part ?? []) {
    if (parts[name]) continue
    console.error(`There is no part ${name}: ${Object.keys(parts).join(", ")}`)
    process.exit(2)
  }
  prepare()
  packedPackage()
  const { list, problems } = chosen(values.release)
  for (const problem of problems) console.log(`FAILED: ${problem}`)
  const done = []
  for (const entry of list) done.push({ entry, results: await matrix(entry, { short: values.short, only: values.part, say: console.log }) })
  if (process.env.OPENCODE2_BIN) done.push({ entry: { version: "2.x", expect: "refuses" }, results: new Map([["smoke", await two(process.env.OPENCODE2_BIN, console.log)]]) })
  const all = done.flatMap(({ results }) => [...results.values()])
  console.log(`\n${done.map(({ entry, results }) => line(entry, results, values.short)).join("\n")}`)
  if (values.write) write(done, values.short)
  if (!process.env.OPENCODE2_BIN && !values.release) console.log("OpenCode 2 was not tried: OPENCODE2_BIN names none.")
  const failed = all.reduce((sum, { problems }) => sum + problems.length, problems.length)
  console.log(`${all.reduce((sum, { passed }) => sum + passed, 0)} passed, ${failed} failed`)
  process.exit(failed ? 1 : 0)
}
