// What session sync costs: OpenCode's start, a turn of 2,000 pieces, requests, and a backfill.

import { execFile, execFileSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { eventually, opencodeBinary } from "../lib/world.mjs"
import { createSyncWorld } from "../sync/world.mjs"
import { median } from "./median.mjs"

const here = dirname(fileURLToPath(import.meta.url))
const PIECES = 2_000
const PAIRS = 30
/** After this both are at rest. */
const REST_MS = 2_000
/** The engine compiles what runs often. */
const WARM_UP = 4
const SESSIONS = 1_000
const MESSAGES = 50

/** What is undisturbed: what else the machine does makes a turn only longer. */
const quick = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 4)]

/** How much longer the first of each pair takes, and where that lies with a certainty of 95 %: pairs are drawn again and again from those that were measured. */
function interval(pairs) {
  let state = 1
  // The same draws in every run.
  const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
  const ratio = (drawn) => quick(drawn.map(([ours]) => ours)) / quick(drawn.map(([, plain]) => plain))
  const ratios = Array.from({ length: 2_000 }, () => ratio(pairs.map(() => pairs[Math.floor(random() * pairs.length)]))).sort((a, b) => a - b)
  return { ratio: ratio(pairs), low: ratios[50], high: ratios[1_949], pairs: pairs.length }
}

const scripts = {
  long: [{ chunks: Array.from({ length: PIECES }, (_, n) => `piece ${n} `) }],
  work: [{ text: "Let me look.", calls: [["read", { filePath: "README.md" }], ["bash", { command: "echo one; echo two" }]] }, { text: "That is all." }],
}

export async function sync() {
  return { start: await start(), turn: await turn(), ...(await backfill()) }
}

/** Milliseconds until OpenCode has the plugin, the longest that it then could do nothing else, and those of the events of a turn. */
async function start() {
  const world = await createSyncWorld({ scripts })
  try {
    const args = [join(here, "sync-start.mjs"), join(world.packed, "dist/index.js"), world.project]
    const env = { ...world.environment, BUN_BE_BUN: "1" }
    const runs = Array.from({ length: 9 }, () => JSON.parse(execFileSync(opencodeBinary(), args, { env, encoding: "utf8" })))
    return { ms: median(runs.map(({ ms }) => ms)), longestMs: median(runs.map(({ longest }) => longest)), eventsMs: median(runs.map(({ events }) => events)) }
  } finally {
    await world.close()
  }
}

/** Turns with the plugin against turns without it, in turns; and the requests of a turn. */
async function turn() {
  // Without OpenCode's own snapshots, whose git takes now more and now less.
  const world = await createSyncWorld({ scripts, options: { git: false, config: { snapshot: false } } })
  try {
    const without = join(world.base, "without.json")
    writeFileSync(without, JSON.stringify({ ...JSON.parse(readFileSync(world.configFile, "utf8")), plugin: [] }))
    const [ours, plain] = [await world.serve(), await world.serve({ env: { OPENCODE_CONFIG: without } })]
    const time = async (opencode) => {
      const session = await opencode.session({ title: "measured" })
      const begin = performance.now()
      await opencode.prompt(session, "script:long")
      const ms = performance.now() - begin
      // What OpenCode and the plugin do after a turn is no part of another one.
      await new Promise((done) => setTimeout(done, REST_MS))
      if (opencode === ours) await eventually("the turn is there", async () => (await world.stored()).find(({ externalId }) => externalId === session)?.messages.length === 2)
      return ms
    }
    for (let n = 0; n < WARM_UP; n++) for (const opencode of [ours, plain]) await time(opencode)
    const pairs = []
    for (let n = 0; n < PAIRS; n++) {
      // Who is first takes turns, too.
      const order = n % 2 ? [plain, ours] : [ours, plain]
      const times = new Map()
      for (const opencode of order) times.set(opencode, await time(opencode))
      pairs.push([times.get(ours), times.get(plain)])
    }
    const session = await ours.session({ title: "counted" })
    await ours.prompt(session, "script:work")
    const rest = () => eventually("rest", async () => world.spool().length > 0 && world.spool().every((entry) => entry.session.accepted && !entry.session.waiting && Object.values(entry.messages).every(({ waiting }) => !waiting)), 120)
    const has = (messages) => async () => (await world.stored()).find(({ externalId }) => externalId === session)?.messages.length === messages
    await eventually("the first turn is there", has(3))
    await rest()
    await world.control("DELETE", "requests")
    await ours.prompt(session, "script:work")
    await eventually("the turn is there", has(6))
    await rest()
    const requests = (await world.requests()).filter((request) => request.startsWith("POST")).length
    return { plainMs: quick(pairs.map(([, plain]) => plain)), time: interval(pairs), messages: 3, requests }
  } finally {
    await world.close()
  }
}

/** A backfill of many sessions, and then one that finds nothing to do. */
async function backfill() {
  const world = await createSyncWorld({ scripts, login: false })
  try {
    await world.run("script:work")
    const path = execFileSync(opencodeBinary(), ["db", "path"], { env: world.environment, encoding: "utf8" }).trim()
    execFileSync(opencodeBinary(), [join(here, "sync-rows.mjs"), path, SESSIONS, MESSAGES], { env: { ...world.environment, BUN_BE_BUN: "1" } })
    world.config({ url: world.store.url, apiKey: world.store.key })
    const memory = join(world.base, "memory.mjs")
    writeFileSync(memory, `process.on("exit", () => console.error(JSON.stringify({ peakKb: process.resourceUsage().maxRSS })))`)
    const push = async () => {
      const begin = performance.now()
      const { stdout, stderr } = await new Promise((done, fail) => {
        const args = ["--import", memory, join(world.packed, "dist/cli.js"), "push", "--json"]
        const child = execFile(process.execPath, args, { cwd: world.project, env: world.environment, maxBuffer: 1 << 26 }, (error, stdout, stderr) => (error ? fail(new Error(`${error.message}\n${stdout}`)) : done({ stdout, stderr })))
        child.stdin.end()
      })
      const seconds = (performance.now() - begin) / 1000
      return { seconds, mb: JSON.parse(stderr.trim().split("\n").at(-1)).peakKb / 1024, pushed: JSON.parse(stdout) }
    }
    const first = await push()
    const second = await push()
    return {
      backfill: { sessions: SESSIONS, messages: SESSIONS * MESSAGES, seconds: first.seconds, peakMb: first.mb, answer: first.pushed },
      nothingToDo: { seconds: second.seconds, peakMb: second.mb },
    }
  } finally {
    await world.close()
  }
}

export function syncRows({ start, turn, backfill }) {
  return [
    ["sync: OpenCode's start, ms", start.ms, "≤ 30", start.ms <= 30],
    ["sync: the events of a turn of 2,000 pieces / the turn without the plugin", start.eventsMs / turn.plainMs, "≤ 0.03", start.eventsMs / turn.plainMs <= 0.03],
    ["sync: a turn of 2,000 pieces / without, lower end of 95 %", turn.time.low, "≤ 1.03", turn.time.low <= 1.03],
    [`sync: requests for a turn of ${turn.messages} messages`, turn.requests, `≤ ${turn.messages + 2}`, turn.requests <= turn.messages + 2],
    ["sync: backfill of 50,000 messages, MB of opencode-sync", backfill.peakMb, "≤ 200", backfill.peakMb <= 200],
  ]
}
