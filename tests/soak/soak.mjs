// `npm run soak -- --seed N --turns N`: many sessions in several real OpenCode processes of one
// project, for long, while Daytona fails in every way that it can and processes are killed; then
// everything that the model was told it had written must be in the user's repository.
//
// The plan follows from the seed alone (plan.mjs); how it interleaves follows from the machine.
// What must be true at the end is in home.mjs.

import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { ensureLocal, ensurePackage, ensurePackages, ensurePrograms, ensureTools, enterPrograms } from "../lib/setup.mjs"
import { createWorld, eventually, git, startLocal } from "../lib/world.mjs"
import { build, committed, prepareUser, snapshot, userGit } from "../repositories/build.mjs"
import { plainKinds } from "../repositories/kinds.mjs"
import { changes, halfMade, missing, strays, temporary, unsettled } from "./home.mjs"
import { dice, kindOf, plan, repositoryOf } from "./plan.mjs"

const DEFAULTS = { seed: 1, turns: 500, sessions: 20, processes: 4, faults: 5, "kill-every": 50, repositories: 6 }
/** Turns at once. */
const WIDTH = 3
/** A fault or a kill may be felt by turns this far before or after it; unused faults are healed then. */
const NEAR = 4
const TURN_SECONDS = 180
const SETTLE_SECONDS = 300

const text = (content) => (typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? "").join("\n"))

/** Runs a soak; gives what it did and the complaints by check. `say` gets a line now and then. */
export async function soak({ say = () => {}, ...sizes }) {
  const { seed, turns, sessions, processes } = sizes
  const data = mkdtempSync(join(tmpdir(), "soak-"))
  const tmp = join(data, "tmp")
  mkdirSync(tmp)
  const local = await startLocal({ data: join(data, "daytona-local") })
  const files = projectFiles(seed)
  const world = await createWorld({ local, files, env: { TMPDIR: tmp } })
  await makeImage(local)
  for (const name of ["one", "two", "three"]) git(world.project, "commit", "--quiet", "--allow-empty", `--message=History ${name}`)
  prepareUser(world.home)
  const places = [{ name: "the soak's own", root: world.project, dir: world.project, top: world.project }, ...drawn(sizes, world)]
  for (const place of places) {
    place.wanted = committed(world.home, place).files
    // Of the user's own commits, also with a detached HEAD.
    place.heads = place.top ? userGit(world.home, place.root, "rev-list", "--all", "--no-walk").split("\n").filter(Boolean) : []
    place.before = snapshot(world.home, place)
  }
  say(`repositories: ${places.map(({ name }) => name).join("; ")}`)
  const state = new Soak(world, { tmp, say, sizes, places })
  let complaints = { soak: ["it did not end"] }
  try {
    await state.start(processes)
    await state.drive(plan(sizes))
    complaints = await state.complaints()
  } finally {
    const failed = Object.values(complaints).flat().length > 0
    if (failed) say(`What is left to look at: ${data} and ${world.base}`)
    await world.close({ keep: failed })
    await local.stop()
    if (!failed) rmSync(data, { recursive: true, force: true })
  }
  return { turns, sessions, promises: state.promises.length, kills: state.kills, faults: state.faults, early: state.early, complaints }
}

/** Repositories of the table, which one follows from the seed. */
function drawn({ seed, repositories }, world) {
  const random = dice(seed)
  const left = [...plainKinds]
  return Array.from({ length: repositories }, (_, n) => {
    const [kind] = left.splice(random.below(left.length), 1)
    const base = join(world.base, `repository${n}`)
    mkdirSync(base)
    return { name: kind.name, ...build(kind, base, world.home, n) }
  })
}

function projectFiles(seed) {
  const random = dice(seed)
  return Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`src/d${n % 5}/file${n}.txt`, `file ${n} ${random.below(2 ** 31)}\n`]).concat([[".gitignore", "ignored/\n"], [".gitattributes", "*.txt filter=image\n"], ["ignored/own.txt", "of the user\n"], [LARGE, `${seed}\n`.repeat(4_500_000)]]))
}

/** It packs to nearly nothing, and does not fit into a small sandbox. */
const LARGE = "large.dat"
const IMAGE = "soak-image"
const FULL = "test-small-disk"

/** A snapshot with git settings of its own: each would lose files, change them, or stop git. */
async function makeImage(local) {
  const sandbox = await local.api("POST", "/sandbox", { name: IMAGE })
  const settings = ["core.autocrlf true", "core.hooksPath ~/hooks", "core.excludesFile ~/ignored", "init.templateDir ~/template", "filter.image.clean 'exit 1'", "filter.image.smudge 'exit 1'", "filter.image.required true"]
  const hook = "printf '#!/bin/sh\\nexit 1\\n'"
  const script = ["mkdir -p ~/hooks ~/template/hooks", `${hook} > ~/hooks/reference-transaction`, `${hook} > ~/template/hooks/reference-transaction`, "chmod +x ~/hooks/* ~/template/hooks/*", "echo '*.txt' > ~/ignored", ...settings.map((setting) => `git config --global ${setting}`)].join(" && ")
  const response = await fetch(`${local.url.replace(/\/api$/, "")}/toolbox/${sandbox.id}/process/execute`, { method: "POST", headers: { authorization: `Bearer ${local.apiKey}`, "content-type": "application/json" }, body: JSON.stringify({ command: `bash -c ${JSON.stringify(script)}` }) })
  const done = await response.json()
  if (done.exitCode !== 0) throw new Error(`the image cannot be made: ${JSON.stringify(done)}`)
  await local.api("POST", `/sandbox/${sandbox.id}/snapshot`, { name: IMAGE })
  await eventually("the image", async () => (await local.api("GET", `/snapshots/${IMAGE}`)).state === "active")
  await local.api("DELETE", `/sandbox/${sandbox.id}`)
}

class Soak {
  promises = []
  /** Turns that failed without an excuse. */
  failures = []
  kills = 0
  faults = 0
  /** Undos, forks and deletions in the first second of a session. */
  early = 0
  /** Numbers of the turns at which something was made to fail. */
  disturbed = []
  #world
  #tmp
  #places
  #say
  #sizes
  #processes = []
  #slots
  /** Temporary directories that a killed process left behind. */
  #orphaned = new Set()
  #written = { planned: 0, told: 0 }

  constructor(world, { tmp, say, sizes, places }) {
    this.#places = places
    this.#world = world
    this.#tmp = tmp
    this.#say = say
    this.#sizes = sizes
    const place = (slot) => places[repositoryOf(slot, sizes.processes, sizes.repositories)]
    this.#slots = Array.from({ length: sizes.sessions }, (_, slot) => ({ last: Promise.resolve(), place: place(slot) }))
  }

  async start(processes) {
    for (let n = 0; n < processes; n++) {
      const kind = kindOf(n, processes)
      this.#processes.push({ kind, ready: this.#serve(kind) })
      await this.#processes[n].ready
    }
  }

  async #serve(kind) {
    const snapshot = { image: IMAGE, full: FULL }[kind]
    // OpenCode does not start while another process of it has its database locked.
    const serve = () => this.#world.serve({ env: snapshot ? { DAYTONA_SNAPSHOT: snapshot } : {} }).catch((error) => (/database is locked/.test(error.message) ? undefined : Promise.reject(error)))
    let opencode
    while (!opencode) opencode = await serve()
    // The plugin is loaded by the first request of a project.
    for (const { dir } of this.#places) await opencode.at(dir).request("GET", "/session")
    return opencode
  }

  /** Runs the turns in order, a few at a time; those of one slot one after the other. */
  async drive(turns) {
    const start = Date.now()
    const running = new Set()
    for (const turn of turns) {
      while (running.size >= WIDTH) await Promise.race(running)
      if (turn.index % 25 === 24) this.#say(`turn ${turn.index + 1}: ${this.promises.length} promises, ${this.kills} kills, ${this.faults} faults, ${Math.round((Date.now() - start) / 1000)} s`)
      await this.#disturb(turn)
      const slot = this.#slots[turn.slot]
      const work = slot.last.then(() => this.#turn(turn, slot)).catch((error) => void this.failures.push(`turn ${turn.index}: ${error.stack ?? error}`))
      slot.last = work
      running.add(work)
      work.finally(() => running.delete(work))
    }
    await Promise.all(running)
  }

  async #disturb(turn) {
    if (this.disturbed.some((index) => index === turn.index - NEAR)) await this.#world.local.heal()
    if (turn.kill) this.disturbed.push(turn.index)
    if (!turn.fault) return
    const { method, path, action, times, skip } = turn.fault
    await this.#world.local.fault(method, path, action, { times, skip })
    this.disturbed.push(turn.index)
    this.faults++
  }

  #isNearDisturbance(index) {
    return this.disturbed.some((at) => Math.abs(at - index) <= NEAR)
  }

  async #turn(turn, slot) {
    const process = this.#processes[turn.process]
    const opencode = await process.ready
    const early = slot.session ? "nothing" : turn.early
    if (early === "sync") turn.steps.unshift([{ tool: "sync", args: {} }, ...(turn.steps.shift() ?? [])])
    this.#script(turn, process)
    let killed = false
    let meanwhile
    try {
      slot.session ??= await opencode.at(slot.place.dir).session()
      const session = slot.session
      meanwhile = this.#early(early, turn, slot, opencode).catch((error) => void (process.killed === opencode || this.failures.push(`turn ${turn.index}: ${early} in the first second of ${session}: ${error.message}`)))
      const sent = opencode.request("POST", `/session/${slot.session}/message`, { parts: [{ type: "text", text: `script:t${turn.index}` }], model: { providerID: "fake", modelID: "m" } })
      const answer = await within(TURN_SECONDS, sent, `turn ${turn.index} of ${session}`)
      await meanwhile
      if (slot.session === session) await this.#after(turn, slot, opencode, answer.info.parentID)
    } catch (error) {
      killed = process.killed === opencode
      // A session that is deleted, or whose turn is stopped, has no answer.
      const isStopped = ["undo", "delete"].includes(early) && !(error instanceof TooLong)
      if (!killed && !isStopped && !this.#isNearDisturbance(turn.index)) throw error
      if (error instanceof TooLong) {
        await opencode.request("POST", `/session/${slot.session}/abort`).catch(() => {})
        throw error
      }
    } finally {
      await meanwhile
      // A turn may end before the step at which it was to be killed.
      if (turn.kill) await (turn.killing ??= this.#kill(process))
      killed ||= process.killed === opencode
      for (const promise of this.promises) if (promise.turn === turn.index) promise.killed = killed
      delete this.#world.model.scripts[`t${turn.index}`]
    }
  }

  /** What the user does in the first second of a session, whose sandbox is still being made. */
  async #early(what, turn, slot, opencode) {
    const { session } = slot
    if (["nothing", "sync"].includes(what)) return
    this.early++
    await new Promise((go) => setTimeout(go, turn.earlyMs))
    if (what === "fork") {
      const fork = await opencode.request("POST", `/session/${session}/fork`, {})
      slot.session = fork.id
    } else if (what === "delete") {
      slot.session = undefined
      await opencode.request("DELETE", `/session/${session}`)
    } else {
      await opencode.request("POST", `/session/${session}/abort`)
      const messages = await opencode.request("GET", `/session/${session}/message`)
      const message = messages.find((message) => message.info.role === "user")?.info.id
      if (!message) return
      await eventually(`an undo in ${session}`, () => opencode.request("POST", `/session/${session}/revert`, { messageID: message }), 20)
      for (const promise of this.promises) if (promise.turn === turn.index) promise.undone = true
    }
  }

  /** What the user does when the turn is over. */
  async #after(turn, slot, opencode, message) {
    const { session } = slot
    // OpenCode calls a session busy for a moment longer.
    const once = (what, path, body) => eventually(`${what} in ${session}`, () => opencode.request("POST", `/session/${session}/${path}`, body), 20)
    if (turn.after.startsWith("undo")) {
      await once("an undo", "revert", { messageID: message })
      if (turn.after === "undo and redo") await once("a redo", "unrevert", {})
      else for (const promise of this.promises) if (promise.turn === turn.index) promise.undone = true
    } else if (turn.after === "fork") {
      slot.session = (await once("a fork", "fork", {})).id
    } else if (turn.after === "delete") {
      slot.session = undefined
      await opencode.request("DELETE", `/session/${session}`)
    }
  }

  /** The model of one turn: makes the planned calls, and takes down what their results promise. */
  #script(turn, process) {
    const scripts = this.#world.model.scripts
    const calls = turn.steps.flat()
    const room = process.kind !== "full"
    if (room) this.#written.planned += calls.filter((call) => (call.sub?.call ?? call).content).length
    const script = (steps, kill) => (request, done) => {
      // A long soak would keep every conversation.
      this.#world.model.requests.length = 0
      this.#hear(turn, steps, request)
      if (kill?.step === done) turn.killing ??= new Promise((go) => setTimeout(go, kill.ms)).then(() => this.#kill(process))
      const step = steps[done]
      return step ? { calls: step.map(({ tool, args }) => [tool, args]) } : { text: "Done." }
    }
    scripts[`t${turn.index}`] = script(turn.steps, turn.kill)
    for (const { sub } of calls.filter((call) => call.sub)) scripts[sub.name] = script([[sub.call]])
  }

  /** Reads the results that a request to the model holds. */
  #hear(turn, steps, { messages }) {
    const own = messages.slice(messages.findLastIndex((message) => message.role === "user") + 1)
    const results = new Map(own.filter((message) => message.role === "tool").map((message) => [message.tool_call_id, text(message.content)]))
    for (const [n, message] of own.filter((message) => message.role === "assistant").entries()) {
      for (const [k, { id }] of (message.tool_calls ?? []).entries()) {
        const call = steps[n]?.[k]
        if (call?.content && !call.heard && call.told.test(results.get(id) ?? "")) this.#promised(turn, call)
      }
    }
  }

  /** Where the branches of a place are: beside the store, if it is no repository. */
  #branches({ top }) {
    return top ?? join(this.#world.storeDir, readdirSync(this.#world.storeDir).find((name) => name.endsWith("-plain.git")))
  }

  /** The stores of all repositories as one. */
  #store() {
    const all = this.#world.stores()
    return { creating: all.flatMap(({ creating }) => creating ?? []), cleanup: all.flatMap(({ cleanup }) => cleanup ?? []), sessions: Object.assign({}, ...all.map(({ sessions }) => sessions)) }
  }

  #promised(turn, call) {
    call.heard = true
    const isFull = this.#processes[turn.process]?.kind === "full"
    if (isFull) this.failures.push(`turn ${turn.index}: a sandbox without room for the project was worked in`)
    else this.#written.told++
    this.promises.push({ turn: turn.index, slot: turn.slot, session: this.#slots[turn.slot].session, path: call.args.filePath, content: call.content })
  }

  async #kill(process) {
    const opencode = await process.ready
    process.killed = opencode
    process.ready = (async () => {
      await opencode.stop("SIGKILL")
      for (const name of temporary(this.#tmp)) this.#orphaned.add(name)
      return this.#serve(process.kind)
    })()
    this.kills++
    await process.ready
  }

  /** Lets everything come to rest, and looks. */
  async complaints() {
    const world = this.#world
    await world.local.heal()
    for (const process of this.#processes) {
      await (await process.ready).stop()
      for (const name of temporary(this.#tmp)) this.#orphaned.add(name)
    }
    this.#processes = []
    this.#say("restarting; waiting for the work to come home …")
    await this.start(this.#sizes.processes)
    const left = async () => unsettled(this.#store(), await sandboxes(world.local))
    const settled = await eventually("rest", async () => (await left()).length === 0, SETTLE_SECONDS).then(() => [], left)
    const gone = () => temporary(this.#tmp).filter((name) => !this.#orphaned.has(name))
    await eventually("the end of temporary directories", () => gone().length === 0, 10).catch(() => {})
    const at = (what) => this.#places.flatMap((place) => what(place, this.#branches(place)).map((complaint) => (typeof complaint === "string" ? `${place.name}: ${complaint}` : complaint)))
    const absent = at((place, repository) => missing(repository, this.promises.filter(({ slot }) => this.#slots[slot].place === place)))
    const { planned, told } = this.#written
    return {
      "turns end": this.failures,
      "most of what is written is promised": told >= planned * 0.6 ? [] : [`only ${told} of ${planned} writes were told to have succeeded`],
      "the store comes to rest": settled,
      "what was promised is home": absent.map(({ content, ...promise }) => `${content.slice(0, 40).trim()} is in no branch: ${JSON.stringify(promise)}`),
      "sandboxes and sessions match": strays(this.#store(), await sandboxes(world.local)),
      "the user's own is untouched, and sound": at((place) => changes(place.before, snapshot(world.home, place))),
      "no tree that nobody made": at((place, repository) => halfMade(repository, place.wanted, place.heads)),
      "nothing temporary is left": gone().map((name) => `${join(this.#tmp, name)} was left`),
    }
  }
}

class TooLong extends Error {}

async function within(seconds, work, what) {
  let timer
  const limit = new Promise((_, fail) => (timer = setTimeout(() => fail(new TooLong(`${what} did not end within ${seconds} s`)), seconds * 1000)))
  try {
    return await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
  }
}

async function sandboxes(local) {
  const all = []
  for (let cursor = ""; ; ) {
    const page = await local.api("GET", `/sandbox?limit=200${cursor}`)
    all.push(...page.items)
    if (!page.nextCursor) return all.filter((sandbox) => !["destroyed", "destroying"].includes(sandbox.state))
    cursor = `&cursor=${encodeURIComponent(page.nextCursor)}`
  }
}

function sizesOf(args) {
  const sizes = { ...DEFAULTS }
  for (let n = 0; n < args.length; n += 2) {
    const name = args[n].replace(/^--/, "")
    if (!(name in DEFAULTS) || !/^\d+$/.test(args[n + 1] ?? "")) {
      console.error(`${args[n]} ${args[n + 1] ?? ""}: known are ${Object.entries(DEFAULTS).map(([name, value]) => `--${name} ${value}`).join(", ")}, each with a whole number.`)
      process.exit(2)
    }
    sizes[name] = Number(args[n + 1])
  }
  const { "kill-every": killEvery, ...rest } = sizes
  return { ...rest, killEvery }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { killEvery, ...rest } = sizesOf(process.argv.slice(2))
  const replay = Object.entries({ ...rest, "kill-every": killEvery }).map(([name, value]) => `--${name} ${value}`).join(" ")
  ensureTools()
  ensurePackages()
  ensurePrograms()
  ensurePackage({ reuse: true })
  ensureLocal()
  enterPrograms()
  console.log(`seed ${rest.seed}; the same again: npm run soak -- ${replay}`)
  const result = await soak({ ...rest, killEvery, say: console.log })
  for (const [check, complaints] of Object.entries(result.complaints)) {
    console.log(`${complaints.length ? "FAILED" : "ok"}: ${check}`)
    for (const complaint of complaints) console.log(`  ${complaint}`)
  }
  const failed = Object.values(result.complaints).filter((complaints) => complaints.length).length
  const passed = Object.keys(result.complaints).length - failed
  console.log(`${result.turns} turns, ${result.promises} promises, ${result.kills} kills, ${result.faults} faults, ${result.early} early, ${passed} passed, ${failed} failed`)
  if (failed) console.log(`The same again: npm run soak -- ${replay}`)
  process.exit(failed ? 1 : 0)
}
