// `npm run soak -- --shape sync --seed N --sessions N`: many sessions in several real OpenCode processes and in
// `opencode run`, with undo, forks, subagents, compaction, renames, aborts and deletions, while the store fails in every way
// that it can and processes are killed. At the end every session that OpenCode has is in the store as OpenCode has it, once.
//
// The plan follows from the seed alone; how it interleaves follows from the machine.

import { readdirSync, readFileSync } from "node:fs"
import { eventually, within } from "../lib/world.mjs"
import { createSyncWorld } from "../sync/world.mjs"
import { dice } from "./plan.mjs"

const AT_ONCE = 4
const PROCESSES = 2
/** Per cent of requests to the store that fail, in all. */
const FAULTS = 5
const SETTLE_SECONDS = 120
const TURN_SECONDS = 180

const scripts = {
  plain: [{ text: "An answer without a tool." }],
  tools: [{ text: "Let me look.", calls: [["read", { filePath: "README.md" }], ["bash", { command: "echo one; echo two" }]] }, { text: "That is all." }],
  fail: [{ calls: [["read", { filePath: "nothing.txt" }]] }, { text: "There is no such file." }],
  wide: [{ calls: [["bash", { command: "seq 100000 104000" }]] }, { text: "Many numbers." }],
  sub: [{ calls: [["task", { description: "look around", prompt: "script:tools", subagent_type: "general" }]] }, { text: "The other one has looked." }],
  pieces: [{ chunks: Array.from({ length: 200 }, (_, n) => `piece ${n} `) }],
  slow: [{ text: "A first step.", calls: [["bash", { command: "sleep 2; echo made" }]] }, { text: "It took its time." }],
}

const failures = [{ drop: "before" }, { drop: "after" }, { status: 500, body: { error: "Internal" } }, { status: 429, headers: { "retry-after": "1" } }, { silent: true }]

/** What happens, session by session. */
export function plan({ seed, sessions }) {
  const random = dice(seed)
  return Array.from({ length: sessions }, (_, index) => ({
    index,
    // Every fifth one is an `opencode run` of its own.
    process: index % 5 === 4 ? "run" : random.below(PROCESSES),
    turns: Array.from({ length: random.between(1, 3) }, () => random.weighed({ plain: 3, tools: 4, fail: 1, wide: 1, sub: 1, pieces: 1, slow: 1 })),
    after: random.weighed({ nothing: 4, undo: 2, fork: 2, compact: 1, rename: 1, abort: 1, delete: 1, kill: 1 }),
  }))
}

export async function soakSync({ say = () => {}, ...sizes }) {
  const world = await createSyncWorld({ scripts })
  const soak = new Soak(world, say)
  let complaints = { soak: ["it did not end"] }
  try {
    for (const failure of failures) await world.control("POST", "fault", { times: -1, percent: FAULTS / failures.length, ...failure })
    await soak.start()
    const left = plan(sizes)
    const work = async () => {
      for (let one = left.shift(); one; one = left.shift()) await soak.session(one)
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
    complaints = await soak.complaints()
  } finally {
    const failed = Object.values(complaints).flat().length > 0
    if (failed) say(`What is left to look at: ${world.base}`)
    await world.close({ keep: failed })
  }
  return { ...sizes, ...soak.counted, complaints }
}

class Soak {
  #world
  #say
  #processes = []
  #failed = []
  counted = { turns: 0, kills: 0, faults: 0, actions: {} }

  constructor(world, say) {
    this.#world = world
    this.#say = say
  }

  async start() {
    // One after the other: OpenCode makes its database at the first start, and two at once fail at that.
    for (let n = 0; n < PROCESSES; n++) this.#processes.push(await this.#world.serve())
  }

  async session({ index, process, turns, after }) {
    const { counted } = this
    counted.actions[after] = (counted.actions[after] ?? 0) + 1
    this.#say(`${index}: ${turns.join(", ")}; then ${after}`)
    if (process === "run") {
      for (const name of turns) await this.#world.run(`Number ${index}. script:${name}`)
      counted.turns += turns.length
      return
    }
    try {
      await within(TURN_SECONDS, this.#drive(index, process, turns, after), `session ${index}`)
    } catch (error) {
      // A kill is felt by whatever ran in that process.
      if (!this.#processes[process].isKilled && !/fetch failed|terminated|socket/i.test(error.message)) this.#failed.push(`session ${index}: ${error.message}`)
    }
  }

  async #drive(index, process, turns, after) {
    const opencode = this.#processes[process]
    const session = await opencode.session({ title: `Number ${index}` })
    const prompt = async (id, name) => {
      await opencode.prompt(id, `Number ${index}. script:${name}`)
      this.counted.turns++
    }
    for (const name of turns) await prompt(session, name)
    const post = (path, body = {}) => eventually(`${path} in ${session}`, () => opencode.request("POST", `/session/${session}/${path}`, body), 60)
    if (after === "undo") {
      const messages = await opencode.request("GET", `/session/${session}/message`)
      await post("revert", { messageID: messages.filter(({ info }) => info.role === "user").at(-1).info.id })
      if (index % 2) await prompt(session, "plain")
    } else if (after === "fork") {
      const fork = await post("fork")
      await prompt(fork.id, "plain")
    } else if (after === "compact") {
      await post("summarize", { providerID: "fake", modelID: "m" })
    } else if (after === "rename") {
      await opencode.request("PATCH", `/session/${session}`, { title: `Number ${index}, under another name` })
    } else if (after === "delete") {
      await opencode.request("DELETE", `/session/${session}`)
    } else if (after === "abort") {
      const running = prompt(session, "slow").catch(() => {})
      await eventually("it is busy", async () => (await opencode.request("GET", "/session/status"))[session])
      await opencode.request("POST", `/session/${session}/abort`)
      await running
    } else if (after === "kill") {
      const running = prompt(session, "slow").catch(() => {})
      await eventually("it is busy", async () => (await opencode.request("GET", "/session/status"))[session])
      await this.#kill(process, opencode)
      await running
    }
  }

  async #kill(process, opencode) {
    // Another session may have killed it.
    if (opencode.isKilled) return
    opencode.isKilled = true
    this.counted.kills++
    await opencode.stop("SIGKILL")
    this.#processes[process] = await this.#world.serve()
  }

  /** Lets everything come to rest, and looks. */
  async complaints() {
    const world = this.#world
    this.#say("the store is well again; OpenCode is started once more …")
    this.counted.faults = await (await fetch(`${world.store.url}/_test/hits`)).json()
    await world.control("DELETE", "fault")
    for (const opencode of this.#processes) await opencode.stop()
    const opencode = await world.serve()
    const conversations = await world.conversations(opencode)
    let different = []
    await eventually("both sides are the same", async () => (different = await world.differences(conversations)).length === 0, SETTLE_SECONDS).catch(() => {})
    const stored = await world.stored()
    await opencode.stop()
    const left = () => processes(world.home)
    await eventually("the end of what stayed behind", () => left().length === 0, 60).catch(() => {})
    return {
      "turns end": this.#failed,
      "what OpenCode has is in the store, as OpenCode has it": different,
      "nothing is there twice": twice(stored),
      "no process is left": left(),
    }
  }
}

/** Ids of messages that are in the store more than once. */
function twice(stored) {
  const ids = stored.flatMap(({ messages }) => messages.map(({ externalId }) => externalId))
  return ids.filter((id, at) => ids.indexOf(id) !== at)
}

/** Processes that live in a home. */
function processes(home) {
  const read = (pid, what) => {
    try {
      return readFileSync(`/proc/${pid}/${what}`, "utf8").replaceAll("\0", " ")
    } catch {
      return ""
    }
  }
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name))
  return pids.filter((pid) => read(pid, "environ").includes(`HOME=${home} `)).map((pid) => read(pid, "cmdline"))
}
