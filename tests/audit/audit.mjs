// `npm run audit`: does any way lead from the model to the host?
//
// The real OpenCode runs in each state of the plugin, with what the README has users write and with
// the plugin's entry alone, and the scripted model and a scripted user try every channel that is
// known (rows-model.mjs, rows-user.mjs, rows-faces.mjs): to read a secret, to write, to execute, to
// reach a server on loopback. Three watchers look from outside (watch.mjs). First of all they look
// at OpenCode without the plugin, where they must see all of it.
//
// Options: --state NAME, --config NAME and --row ID (each may be repeated) for a part of it, and
// --release VERSION for another OpenCode than the pinned one (tests/lib/releases.mjs).

import { parseArgs } from "node:util"
import { ensureRelease, expected, release } from "../lib/releases.mjs"
import { prepare } from "../lib/setup.mjs"
import { packedPackage } from "../lib/world.mjs"
import { byItself, cannot } from "./releases.mjs"
import { CONFIGS, FAMILIES, round, rounds, rows, STATES, WITHOUT } from "./round.mjs"
import { canTrace } from "./trace.mjs"
import { idle, judge, refused, unseen } from "./verdict.mjs"
import { kept, KINDS } from "./watch.mjs"

/** As many rounds at a time. */
const LANES = 2

/** Runs the audit, in the rounds of these configurations and states that `some` takes. Gives `{ lines, effects, secrets, problems, rows, rounds, closed }`. */
export async function audit({ chosen = rows, states = STATES, configs = CONFIGS, some = () => true, say = () => {} } = {}) {
  const lines = [`OpenCode ${release()}`]
  const problems = []
  const trace = canTrace()
  if (!trace) {
    lines.push("process trace: NOT AVAILABLE (strace cannot trace here), so nobody saw what was executed")
    if (process.env.CI) problems.push("no process trace, which CI must have")
  }
  packedPackage()
  const all = rounds(configs, states).filter(some)
  const done = await runAll(all, { chosen, trace, say })
  problems.push(...selfCheck(chosen, done, trace, lines))
  for (const { name, state } of [WITHOUT, ...all]) {
    const { closed, results } = done.get(name)
    if (closed && (name === WITHOUT.name || !refused(closed))) problems.push(`${name}: OpenCode made no session, and not because it refuses its configuration: ${closed.slice(0, 400)}`)
    if (state === "healthy" && expected() === "serves") for (const what of idle(chosen, results)) problems.push(`this try proves nothing, for the sandbox did not do it: ${name} ${what}`)
  }
  const effects = tabulate(chosen, all, done, lines)
  lines.push("not watched:", ...kept.map((text) => `    ${text}`))
  const sum = (count) => all.reduce((sum, { name }) => sum + count(done.get(name)), 0)
  lines.push(`${chosen.length} rows × ${all.length} rounds, ${FAMILIES.length} model families; ${sum(({ tries }) => tries)} tries with ${sum(({ results }) => [...results.values()].flat().length)} calls`)
  // What is the user's own choice to send, as instruction files are, does not count.
  const secrets = effects.filter(({ sent }) => sent).length
  lines.push(`${sum(({ requests }) => requests)} requests to the model, looked through for every secret: of files, of the environment, the API key, a proxy's password`)
  const told = effects.map(({ row, round, kind, what }) => `HOST EFFECT ${round} ${row} ${KINDS[kind]}: ${what}`)
  if (effects.length) lines.push("", ...new Set(told))
  lines.push(...problems.map((problem) => `PROBLEM ${problem}`))
  return { lines, effects, secrets, problems, rows: chosen.length, rounds: all.length, closed: all.filter(({ name }) => done.get(name).closed).length }
}

/** Runs every round, and OpenCode without the plugin; gives what came of each, by its name. */
async function runAll(all, { chosen, trace, say }) {
  // The slow ones first.
  const slow = ["down", "healthy"]
  const waiting = [WITHOUT, ...all.toSorted((a, b) => slow.includes(b.state) - slow.includes(a.state))]
  const done = new Map()
  const lane = async () => {
    for (let next; (next = waiting.shift()); ) {
      say(`${next.name}: ${next.what}`)
      done.set(next.name, await round(next, { chosen, trace }))
      say(`${next.name}: ${done.get(next.name).seconds.toFixed(0)} s`)
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return done
}

/** What the watchers see where nothing holds; gives what they should have seen and did not. */
function selfCheck(chosen, done, trace, lines) {
  const { effects, results } = done.get(WITHOUT.name)
  const there = chosen.filter((row) => (trace || !row.plain.includes("x")) && !cannot(row.id))
  const kinds = Object.entries(KINDS).map(([kind, name]) => `${name} ${new Set(effects.filter((effect) => effect.kind === kind).map(({ row }) => row)).size}`)
  lines.push(`self-check: without the plugin, effects in ${chosen.filter(({ id }) => effects.some(({ row }) => row === id)).length} of ${chosen.length} rows (${kinds.join(", ")})`, "")
  return unseen(there, effects, results).map((missed) => `self-check: the watchers did not see OpenCode do this without the plugin: ${missed}`)
}

/** Adds the table to `lines`, with its footnotes; gives the effects that count. */
function tabulate(chosen, all, done, lines) {
  const width = Math.max(...chosen.map(({ id, what }) => id.length + what.length)) + 4
  const table = (...cells) => cells.map((cell, at) => String(cell).padEnd(at ? 15 : width)).join(" ").trimEnd()
  lines.push(table("row", WITHOUT.name, ...all.map(({ name }) => name)))
  const effects = []
  const footnotes = new Map()
  const note = (text, row) => footnotes.set(text, [...(footnotes.get(text) ?? []), row])
  for (const row of [...chosen, { id: "(no row)", what: "what no try's token is in", plain: "" }]) {
    const of = (name) => done.get(name).effects.filter((effect) => (row.id === "(no row)" ? !rows.some(({ id }) => id === effect.row) : effect.row === row.id))
    const cells = all.map(({ name, state }) => {
      const verdict = judge(row, state, of(name))
      effects.push(...verdict.effects.map((effect) => ({ ...effect, row: row.id, round: name })))
      for (const text of verdict.notes) note(text, row.id)
      return done.get(name).closed && verdict.cell !== "HOST EFFECT" ? "closed" : verdict.cell
    })
    if (cannot(row.id)) note(`not in OpenCode ${release()}: ${cannot(row.id)}`, row.id)
    const there = [...new Set(of(WITHOUT.name).map(({ kind }) => kind))]
    lines.push(table(`${row.id}: ${row.what}`, Object.keys(KINDS).filter((kind) => there.includes(kind)).join("") || ".", ...cells))
  }
  lines.push("", `${WITHOUT.name}: what happens without the plugin (${Object.entries(KINDS).map(([kind, name]) => `${kind} ${name}`).join(", ")})`)
  for (const { name } of all.filter(({ name }) => done.get(name).closed)) lines.push(`closed: ${name}: OpenCode makes no session, so nothing runs: ${done.get(name).closed.slice(0, 200)}`)
  for (const { what } of byItself()) lines.push(`OpenCode ${release()} by itself: ${what}`)
  for (const [text, ids] of footnotes) lines.push(text, `    ${[...new Set(ids)].join(", ")}`)
  return effects
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const many = { type: "string", multiple: true }
  const { values } = parseArgs({ options: { state: many, config: many, row: many, release: { type: "string" } } })
  for (const name of values.state ?? []) if (!STATES.includes(name)) fail(`There is no state ${name}: ${STATES.join(", ")}`)
  for (const name of values.config ?? []) if (!CONFIGS.includes(name)) fail(`There is no configuration ${name}: ${CONFIGS.join(", ")}`)
  for (const id of values.row ?? []) if (!rows.some((row) => row.id === id)) fail(`There is no row ${id}: ${rows.map((row) => row.id).join(", ")}`)
  prepare()
  if (values.release) process.env.OPENCODE_RELEASE = ensureRelease(values.release)
  const chosen = values.row ? rows.filter(({ id }) => values.row.includes(id)) : rows
  const { lines, effects, secrets, problems } = await audit({ chosen, states: values.state, configs: values.config, say: (text) => console.error(text) })
  console.log(lines.join("\n"))
  const count = new Set(effects.map(({ row, round }) => `${row} ${round}`)).size
  console.log(`${secrets} secrets in what the model was sent`)
  console.log(`${count} host effects`)
  process.exit(effects.length || problems.length ? 1 : 0)
}

function fail(text) {
  console.error(text)
  process.exit(2)
}
