// `npm run soak -- --seed N --turns N`; with `--shape sync` that of session sync (sync.mjs). Of the
// sandbox plugin: many sessions in several real OpenCode processes of one project, for long, while Daytona fails in every way that it can and processes are killed; then
// everything that the model was told it had written must be in the user's repository.
//
// Some kills are aimed at the packing and at the upload of large repositories (aim.mjs).
//
// The plan follows from the seed alone (plan.mjs); how it interleaves follows from the machine.
// What must be true at the end is in home.mjs.

import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { prepare } from "../lib/setup.mjs"
import { TooLong, createWorld, eventually, git, startLocal, within } from "../lib/world.mjs"
import { build, committed, prepareUser, snapshot, userGit } from "../repositories/build.mjs"
import { plainKinds } from "../repositories/kinds.mjs"
import { MB, buildLarge, orphans, packing, uploading } from "./aim.mjs"
import { changes, halfMade, missing, strays, temporary, unsettled, unsound } from "./home.mjs"
import { dice, kindOf, plan, repositoryOf } from "./plan.mjs"
import { soakSync } from "./sync.mjs"

const DEFAULTS = { seed: 1, turns: 500, sessions: 20, processes: 4, faults: 5, "kill-every": 50, repositories: 6, large: 2, megabytes: 40 }
/** Turns at once. */
const WIDTH = 3
/** How often a kill is aimed. */
const MAX_AIMS = 5
/** A fault or a kill may be felt by turns this far before or after it; unused faults are healed then. */
const NEAR = 4
const TURN_SECONDS = 180
const SETTLE_SECONDS = 300
/** How long what a kill left may still be there. */
const LEFT_SECONDS = 30

const text = (content) => (typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? "").join("\n"))

/** Runs a soak; gives what it did and the complaints by check. `say` gets a line now and then. */
export async function soak({ say = () => {}, ...sizes }) {
  const { seed, turns, sessions, processes } = sizes
  const data = mkdtempSync(join(tmpdir(), "soak-"))
  const tmp = join(data, "tmp")
  mkdirSync(tmp)
  const localData = join(data, "daytona-local")
  const local = await startLocal({ data: localData })
  const files = projectFiles(seed)
  const world = await createWorld({ local, files, env: { TMPDIR: tmp } })
  await makeImage(local)
  for (const name of ["one", "two", "three"]) git(world.project, "commit", "--quiet", "--allow-empty", `--message=History ${name}`)
  prepareUser(world.home)
  const places = [{ name: "the soak's own", root: world.project, dir: world.project, top: world.project }, ...drawn(sizes, world), ...largeOnes(sizes, world)]
  for (const place of places) {
    place.wanted = committed(world.home, place).files
    // Of the user's own commits, also with a detached HEAD.
    place.heads = place.top ? userGit(world.home, place.root, "rev-list", "--all", "--no-walk").split("\n").filter(Boolean) : []
    place.before = snapshot(world.home, place)
  }
  say(`repositories: ${places.map(({ name }) => name).join("; ")}`)
  const state = new Soak(world, { localData, say, sizes, places })
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
  return { turns, sessions, promises: state.promises.length, kills: state.kills, aimed: state.aimed, left: state.left, faults: state.faults, early: state.early, complaints }
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

function largeOnes({ seed, large, megabytes }, world) {
  return Array.from({ length: large }, (_, n) => {
    const base = join(world.base, `large${n}`)
    mkdirSync(base)
    return { name: `a large one (${n})`, isLarge: true, ...buildLarge(base, world.home, seed, n, megabytes) }
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
  /** Of the kills, those that fell where they were aimed at. */
  aimed = { packing: 0, upload: 0 }
  /** Temporary directories that killed processes left behind. */
  left = 0
  faults = 0
  /** Undos, forks and deletions in the first second of a session. */
  early = 0
  /** Numbers of the turns at which something was made to fail. */
  disturbed = []
  #world
  #localData
  #places
  #say
  #sizes
  #processes = []
  #slots
  /** The sessions, with their slots, in which a process was killed during packing or upload. */
  #struck = []
  #written = { planned: 0, told: 0 }

  constructor(world, { localData, say, sizes, places }) {
    this.#places = places
    this.#world = world
    this.#localData = localData
    this.#say = say
    this.#sizes = sizes
    const place = (slot) => places[repositoryOf(slot, sizes)]
    this.#slots = Array.from({ length: sizes.sessions + sizes.large }, (_, slot) => ({ last: Promise.resolve(), place: place(slot) }))
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
    if (turn.kill || turn.aim) this.disturbed.push(turn.index)
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
    if (turn.aim) slot.session = undefined
    const early = slot.session || turn.again ? "nothing" : turn.early
    if (early === "sync") turn.steps.unshift([{ tool: "sync", args: {} }, ...(turn.steps.shift() ?? [])])
    this.#script(turn, process)
    let killed = false
    let meanwhile
    let isOver = false
    let aiming
    try {
      if (turn.aim) aiming = this.#aim(turn, slot, process, opencode, () => isOver)
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
      isOver = true
      await aiming
      // Another slot's kill may have ended the process before: then this one is aimed again, at the next process.
      const missed = turn.aim && !turn.hit && process.killed === opencode
      // A turn may end before the step at which it was to be killed.
      if (missed) turn.again = (turn.again ?? 0) + 1
      else if (turn.kill || turn.aim) await (turn.killing ??= this.#kill(process))
      killed ||= process.killed === opencode
      for (const promise of this.promises) if (promise.turn === turn.index) promise.killed = killed
      delete this.#world.model.scripts[`t${turn.index}`]
    }
    if (turn.again && !turn.hit && !turn.killing && turn.again <= MAX_AIMS) await this.#turn(turn, slot)
  }

  /** Kills the process while the project of a new session is packed, or uploaded: when so many of a hundred bytes are. */
  async #aim(turn, slot, process, opencode, isOver) {
    const { what, percent } = turn.aim
    const all = this.#sizes.megabytes * MB
    const { pid } = opencode.child
    const looks = {
      packing: () => packing(join(this.#world.storeDir, "temporary"), pid),
      upload: () => uploading(this.#localData, this.#store().sessions[slot.session]?.sandboxId, all),
    }
    // Each part takes its time, so that there is a while in which some have arrived and some have not.
    if (what === "upload") await this.#world.local.fault("POST", "/toolbox/*/files/bulk-upload", { kind: "slow", ms: 3_000 }, { times: -1, for_ms: 60_000 })
    while (!isOver() && process.killed !== opencode) {
      const seen = looks[what]()
      if (seen?.bytes >= (all * percent) / 100) {
        // It cannot end by itself then; whoever ends it must do so by force.
        if (seen.git) signal(seen.git, "SIGSTOP")
        this.aimed[what]++
        turn.hit = true
        this.#struck.push({ slot: turn.slot, process: turn.process, session: slot.session })
        turn.killing = this.#kill(process)
        return
      }
      await new Promise((go) => setTimeout(go, 2))
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
      const alive = () => orphans(this.#world.base)
      await eventually("the end of git", () => alive().length === 0, LEFT_SECONDS).catch(() => {
        for (const { pid, command } of alive()) {
          this.failures.push(`a git outlived its OpenCode by ${LEFT_SECONDS} s: ${command}`)
          signal(pid, "SIGKILL")
        }
      })
      this.left += temporary(this.#world.storeDir, opencode.child.pid).length
      return this.#serve(process.kind)
    })()
    this.kills++
    await process.ready
  }

  /** Lets everything come to rest, and looks. */
  async complaints() {
    const world = this.#world
    await world.local.heal()
    for (const process of this.#processes) await (await process.ready).stop()
    this.#processes = []
    this.#say("restarting; waiting for the work to come home …")
    await this.start(this.#sizes.processes)
    const failed = await this.#lastTurns()
    const left = async () => unsettled(this.#store(), await sandboxes(world.local))
    const settled = await eventually("rest", async () => (await left()).length === 0, SETTLE_SECONDS).then(() => [], left)
    // Those of dead processes were swept at the start, and nobody is at work any more.
    await eventually("the end of temporary directories", () => temporary(world.storeDir).length === 0, LEFT_SECONDS).catch(() => {})
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
      "sessions of large repositories work": failed,
      "packs that are kept are whole": unsound(world.storeDir),
      "nothing temporary is left": temporary(world.storeDir).map((dir) => `${dir} was left`),
    }
  }

  /** One more turn in each session with a kill during packing or upload, and in a new one of each large repository; gives what failed. */
  async #lastTurns() {
    const large = this.#slots.flatMap((slot, number) => (slot.place.isLarge ? [{ slot: number, process: 0 }] : []))
    const complaints = []
    for (const [n, { slot, process, session }] of [...this.#struck, ...large].entries()) {
      const { place } = this.#slots[slot]
      const content = `the end of ${slot}, ${n}\n`
      const call = { tool: "write", args: { filePath: `end${n}.txt`, content }, told: /^Wrote file successfully/, content }
      const turn = { index: `end${n}`, slot, process, steps: [[call]] }
      this.#script(turn, this.#processes[process])
      try {
        const opencode = (await this.#processes[process].ready).at(place.dir)
        await within(TURN_SECONDS, opencode.prompt(session ?? (await opencode.session()), `script:t${turn.index}`), `the last turn in ${place.name}`)
      } catch (error) {
        complaints.push(`${place.name}, ${session ?? "a new session"}: ${error.message}`)
      }
      if (!call.heard) complaints.push(`${place.name}, ${session ?? "a new session"}: nothing was written`)
    }
    return complaints
  }
}

/** Sends a signal to a process, which may have ended. */
function signal(pid, name) {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (error.code !== "ESRCH") throw error
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

/** What can be soaked: sizes with their defaults, and what is said at the end. */
const SHAPES = {
  plugin: {
    defaults: DEFAULTS,
    run: ({ "kill-every": killEvery, ...rest }) => soak({ ...rest, killEvery }),
    told: ({ turns, promises, kills, aimed, left, faults, early }) =>
      `${turns} turns, ${promises} promises, ${kills} kills (${aimed.packing} during packing, ${aimed.upload} during upload; ${left} temporary directories were left by them), ${faults} faults, ${early} early`,
  },
  sync: {
    defaults: { seed: 1, sessions: 60 },
    run: soakSync,
    told: ({ sessions, turns, kills, faults, actions }) => `${sessions} sessions, ${turns} turns (${Object.entries(actions).map(([name, count]) => `${count} ${name}`).join(", ")}), ${kills} kills, ${faults} faults`,
  },
}

/** The shape, and its sizes. */
function wanted(args) {
  const at = args.indexOf("--shape")
  const [, shape = "plugin"] = at < 0 ? [] : args.splice(at, 2)
  if (!(shape in SHAPES)) {
    console.error(`--shape ${shape}: there are ${Object.keys(SHAPES).join(" and ")}.`)
    process.exit(2)
  }
  const sizes = { ...SHAPES[shape].defaults }
  for (let n = 0; n < args.length; n += 2) {
    const name = args[n].replace(/^--/, "")
    if (!(name in sizes) || !/^\d+$/.test(args[n + 1] ?? "")) {
      console.error(`${args[n]} ${args[n + 1] ?? ""}: known are ${Object.entries(SHAPES[shape].defaults).map(([name, value]) => `--${name} ${value}`).join(", ")}, each with a whole number.`)
      process.exit(2)
    }
    sizes[name] = Number(args[n + 1])
  }
  return { shape, sizes }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { shape, sizes } = wanted(process.argv.slice(2))
  const replay = [`--shape ${shape}`, ...Object.entries(sizes).map(([name, value]) => `--${name} ${value}`)].join(" ")
  prepare()
  console.log(`seed ${sizes.seed}; the same again: npm run soak -- ${replay}`)
  const result = await SHAPES[shape].run({ ...sizes, say: console.log })
  for (const [check, complaints] of Object.entries(result.complaints)) {
    console.log(`${complaints.length ? "FAILED" : "ok"}: ${check}`)
    for (const complaint of complaints) console.log(`  ${complaint}`)
  }
  const failed = Object.values(result.complaints).filter((complaints) => complaints.length).length
  const passed = Object.keys(result.complaints).length - failed
  console.log(`${SHAPES[shape].told(result)}, ${passed} passed, ${failed} failed`)
  if (failed) console.log(`The same again: npm run soak -- ${replay}`)
  process.exit(failed ? 1 : 0)
}
