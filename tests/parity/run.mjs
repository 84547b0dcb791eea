// `npm run parity`: every tool against OpenCode's own, by the written table and by generated calls.
//
//   npm run parity -- --seed 1 --calls 5000     the table, then so many calls from this seed
//   npm run parity -- --seed 1 --case 1234      one generated call, with what comes before it
//   npm run parity -- --table NAME              the groups of the table whose name has NAME in it

import { join } from "node:path"
import { parseArgs } from "node:util"
import { ensureLocal, ensurePackage, ensurePackages, ensurePrograms, ensureTools, enterPrograms, must } from "../lib/setup.mjs"
import { root } from "../lib/world.mjs"
import { openArena } from "./arena.mjs"
import { deviations } from "./compare.mjs"
import { countWays, describe, runSession } from "./generated.mjs"
import { CALLS } from "./generate/session.mjs"
import { groups, named, runGroup } from "./table.mjs"

const { values: options } = parseArgs({
  options: { seed: { type: "string", default: "1" }, calls: { type: "string", default: "0" }, case: { type: "string" }, table: { type: "string" }, lanes: { type: "string", default: "2" } },
})
const seed = Number(options.seed)
const lanes = Number(options.lanes)

ensureTools()
ensurePackages()
ensurePrograms()
ensurePackage({ reuse: true })
ensureLocal()
must("cargo", ["build", "--quiet", "--locked", "--package", "tools", "--features", "fs", "--example", "ways"])
enterPrograms()
const ways = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/examples/ways")

/** Does `work` for every item, as many at a time as there are lanes. */
async function inLanes(items, work) {
  let next = 0
  const lane = async () => {
    while (next < items.length) await work(items[next++])
  }
  await Promise.all(Array.from({ length: lanes }, lane))
}

let wrong = 0
const complain = (text) => {
  wrong++
  console.log(`\n${text}`)
}
const start = Date.now()
const seconds = () => `${((Date.now() - start) / 1000).toFixed(0)} s`
const arena = await openArena({ lanes })
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => arena.close().then(() => process.exit(1)))
try {
  if (options.case === undefined) {
    const chosen = groups.filter(({ name }) => name.includes(options.table ?? ""))
    let rows = 0
    await inLanes(chosen, async (group) => {
      const outcome = await runGroup(arena, group)
      rows += outcome.rows.length
      for (const { tool, args, wrong } of outcome.rows) if (wrong) complain(`${group.name}: ${tool} ${JSON.stringify(args).slice(0, 300)}\n${wrong}`)
      if (outcome.tree.wrong) complain(`${group.name}: the tree\n${outcome.tree.wrong}`)
    })
    const listed = Object.keys(deviations())
    for (const id of named()) if (!listed.includes(id)) complain(`DEVIATIONS.md has no entry "${id}"`)
    for (const id of listed) if (!named().has(id)) complain(`no row shows the deviation "${id}"`)
    if (listed.length > 15) complain(`${listed.length} deviations are too many`)
    console.log(`table: ${rows} calls, ${wrong} differences, ${listed.length} deviations listed, ${seconds()}`)
  }
  const only = options.case === undefined ? undefined : Math.floor(Number(options.case) / CALLS)
  const numbers = only === undefined ? Array.from({ length: Math.ceil(Number(options.calls) / CALLS) }, (_, n) => n) : [only]
  if (numbers.length) {
    const before = wrong
    const sessions = []
    await inLanes(numbers, async (number) => {
      const { session, failures } = await runSession(arena, seed, number)
      sessions.push(session)
      for (const failure of failures) complain(describe(seed, failure))
      if (sessions.length % 40 === 0) console.log(`${sessions.length * CALLS} calls, ${wrong - before} differences, ${seconds()}`)
    })
    console.log(`seed ${seed}: ${sessions.length * CALLS} calls, ${wrong - before} differences, ${seconds()}`)
    // One case says nothing about how often a way is hit.
    if (options.case === undefined) await report(sessions)
  }
} finally {
  await arena.close()
}
process.exitCode = wrong ? 1 : 0

/** Prints how often each way of finding the text was hit; in a large run each must be. */
async function report(sessions) {
  console.log("way of finding the text: edits it proposed something for, edits it decided")
  for (const { name, hit, decided } of await countWays(ways, sessions)) {
    console.log(`  ${name.padEnd(18)} ${String(hit).padStart(5)} ${String(decided).padStart(5)}`)
    if (hit < Math.min(100, Number(options.calls) / 50)) complain(`${name} was hit by only ${hit} edits`)
  }
}
