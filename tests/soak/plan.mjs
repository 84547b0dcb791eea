// What a soak does, all of it decided by one seed before anything runs: the same seed and sizes give
// the same plan. A slot is a place for a session: after a deletion or a fork another one sits there.
//
// A call of the model is `{ tool, args, told, content }`: if its result matches `told`, the
// model was promised that a file with `content` exists, and it must come home even if it is replaced or undone.

/** A generator of numbers in [0, 1) (mulberry32), and what is drawn from it. */
export function dice(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 15), z | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n) => Math.floor(next() * n)
  return {
    below,
    between: (low, high) => low + below(high - low + 1),
    chance: (percent) => next() * 100 < percent,
    pick: (list) => list[below(list.length)],
    /** One of the keys of `weights`, by weight. */
    weighed(weights) {
      let at = next() * Object.values(weights).reduce((sum, weight) => sum + weight, 0)
      return Object.entries(weights).find(([, weight]) => (at -= weight) < 0)[0]
    },
  }
}

const status = (code, message, headers) => ({ kind: "status", status: code, body: message === undefined ? null : { message }, headers: headers ?? {} })
const anywhere = [
  status(429, "slow down", { "Retry-After": "1" }),
  status(500, "oops"),
  status(502),
  status(503, "maintenance"),
  status(409, "Sandbox state change in progress"),
  { kind: "drop_before" },
  { kind: "drop_after" },
  { kind: "repeat" },
  { kind: "truncate", bytes: 0 },
  { kind: "truncate", bytes: 60 },
  { kind: "garbage" },
  { kind: "slow", ms: 700 },
]
// The control plane's 404 means that a sandbox is gone for good: to plant it would be a lie.
const toolboxOnly = [status(404, "not found: sandbox container not found"), { kind: "stop_sandbox" }]
const places = [
  ["POST", "/toolbox/*/process/execute"],
  ["POST", "/toolbox/*/process/execute"],
  ["POST", "/toolbox/*/files/bulk-upload"],
  ["GET", "/toolbox/*/files/download"],
  ["POST", "/api/sandbox"],
  ["POST", "/api/sandbox/*/start"],
  ["DELETE", "/api/sandbox/*"],
]

/**
 * What sandboxes a process gets. With three processes or more the last has sandboxes with too little
 * room for the project, so that no set-up ever ends, and the one before those of an image whose own git
 * settings would change what goes in and what comes home.
 */
export const kindOf = (process, processes) => (processes < 3 ? "plain" : process === processes - 1 ? "full" : process === processes - 2 ? "image" : "plain")

/** Of ten slots, one has full disks and two the image. */
function processOf(slot, processes) {
  if (processes < 3) return slot % processes
  if (slot % 10 === 9) return processes - 1
  if (slot % 5 === 3) return processes - 2
  return slot % (processes - 2)
}

/**
 * Which repository a slot's sessions are in: 0 is the soak's own, which the sandboxes with little room and
 * the image are for; the next are drawn from the table of repositories; and behind those are the large ones,
 * each with a slot of its own behind the others.
 */
export function repositoryOf(slot, { sessions, processes, repositories }) {
  if (slot >= sessions) return 1 + repositories + slot - sessions
  return kindOf(processOf(slot, processes), processes) === "plain" ? slot % (repositories + 1) : 0
}

/** The turns, in order. */
export function plan({ seed, turns, sessions, processes, faults, killEvery, large }) {
  const random = dice(seed)
  // Per slot: the files that an edit may expect, as far as a plan can know.
  const known = Array.from({ length: sessions + large }, () => [])
  const inLarge = largeTurns({ seed, turns, sessions, processes, killEvery, large })
  const out = []
  for (let index = 0; index < turns; index++) {
    if (inLarge.has(index)) {
      const turn = inLarge.get(index)
      const files = known[turn.slot]
      // It is in a new session.
      if (turn.aim) files.length = 0
      const planned = steps(random, index, turn.slot, files)
      // Without a call there is no sandbox.
      if (!planned.steps.length) planned.steps = [[make.write(random, { tag: `t${index}-0`, path: `f/s${turn.slot}-t${index}-0.txt`, index })]]
      out.push({ index, ...turn, ...planned, early: "nothing", after: "nothing" })
      continue
    }
    const slot = random.below(sessions)
    const turn = { index, slot, process: processOf(slot, processes), ...steps(random, index, slot, known[slot]) }
    // What happens in the first second of the slot's session, if this turn is its first.
    turn.early = random.weighed({ nothing: 20, sync: 20, undo: 20, fork: 20, delete: 20 })
    turn.earlyMs = random.below(1000)
    turn.after = random.weighed({ nothing: 80, undo: 6, "undo and redo": 5, fork: 4, delete: 5 })
    if (turn.after === "undo") known[slot] = known[slot].filter((file) => file.turn !== index)
    if (turn.after === "delete") known[slot] = []
    if (random.chance(faults)) turn.fault = fault(random)
    const isLast = index % killEvery === killEvery - 1
    if (isLast) turn.kill = { step: random.between(0, turn.steps.length), ms: random.below(300) }
    out.push(turn)
  }
  return out
}

/**
 * The turns in large repositories, by number. Those of a repository begin with kills during packing, since
 * what was packed once is not packed again, and go on with kills during upload. Each of these is in a new
 * session, which works on in a later turn.
 */
function largeTurns({ seed, turns, sessions, processes, killEvery, large }) {
  const random = dice(seed + 1)
  const plain = processes < 3 ? processes : processes - 2
  const queues = Array.from({ length: large }, (_, n) => {
    const times = () => random.between(1, 1 + Math.floor(turns / 50))
    const at = { slot: sessions + n, process: n % plain }
    // When so many of a hundred bytes are there.
    const aimed = (what, most) => ({ ...at, aim: { what, percent: random.chance(40) ? 0 : random.below(most) } })
    const packing = Array.from({ length: times() }, () => aimed("packing", 25))
    const upload = Array.from({ length: times() }, () => [aimed("upload", 75), at])
    return [...packing, at, ...upload.flat()]
  })
  const free = Array.from({ length: turns }, (_, index) => index).filter((index) => index % killEvery !== killEvery - 1)
  const wanted = Math.min(free.length, queues.flat().length)
  const chosen = Array.from({ length: wanted }, () => free.splice(random.below(free.length), 1)[0]).sort((a, b) => a - b)
  return new Map(chosen.map((index) => [index, random.pick(queues.filter((queue) => queue.length)).shift()]))
}

function fault(random) {
  const [method, path] = random.pick(places)
  const action = random.pick(path.startsWith("/toolbox") ? [...anywhere, ...toolboxOnly] : anywhere)
  return { method, path, action, times: random.between(1, 3), skip: random.below(3) }
}

/** One to four calls, one or two at a time; sometimes none. `files` is brought up to date. */
function steps(random, index, slot, files) {
  const calls = []
  const count = random.chance(5) ? 0 : random.between(1, 4)
  // A turn touches no file twice: what it was told last is what must come home.
  const untouched = files.filter((file) => file.turn !== index)
  for (let k = 0; k < count; k++) {
    const at = { tag: `t${index}-${k}`, path: `f/s${slot}-t${index}-${k}.txt`, index }
    const kind = random.weighed({ write: 40, edit: 20, shell: 15, move: 6, commit: 11, subagent: 8 })
    const target = untouched.length && ["edit", "move"].includes(kind) ? untouched.splice(random.below(untouched.length), 1)[0] : undefined
    const call = make[target || !["edit", "move"].includes(kind) ? kind : "write"](random, at, target)
    if (target) files.splice(files.indexOf(target), 1)
    if (call.leaves) files.push({ ...call.leaves, turn: index })
    calls.push(call)
  }
  const grouped = []
  while (calls.length) grouped.push(calls.splice(0, random.between(1, 2)))
  return { steps: grouped }
}

/** Every content is unlike every other. */
function line(random, { tag }) {
  return `${tag} ${random.below(2 ** 31).toString(36)}${random.below(2 ** 31).toString(36)}`
}

const bash = (command, more) => ({ tool: "bash", args: { command }, ...more })

const make = {
  write(random, at) {
    // Now and then too large for a bundle that travels inside a reply.
    const large = random.chance(1)
    const text = large ? Array.from({ length: 80_000 }, () => line(random, at)).join("\n") : line(random, at)
    const content = `${text}\n`
    return { tool: "write", args: { filePath: at.path, content }, told: /^Wrote file successfully/, content, leaves: large ? undefined : { path: at.path, text } }
  },
  edit(random, at, { path, text }) {
    const now = line(random, at)
    const args = { filePath: path, oldString: text, newString: now }
    return { tool: "edit", args, told: /^Edit applied successfully/, content: `${now}\n`, leaves: { path, text: now } }
  },
  shell(random, at) {
    const text = line(random, at)
    const command = `mkdir -p f && printf '%s\\n' '${text}' > ${at.path} && echo told ${at.tag}`
    return bash(command, { told: new RegExp(`^told ${at.tag}`), content: `${text}\n`, leaves: { path: at.path, text } })
  },
  move(random, at, { path, text }) {
    return bash(`mv ${path} ${at.path} && echo moved`, { leaves: { path: at.path, text } })
  },
  commit(random, at) {
    return bash(`git add -A && git -c user.name=agent -c user.email=agent@example.org commit -qm 'Commit ${at.tag}'; git log -1 --format=%s`)
  },
  subagent(random, at) {
    const name = `${at.tag}-sub`
    const inner = make[random.pick(["write", "shell"])](random, at)
    const { leaves, ...sub } = inner
    return { tool: "task", args: { description: "helps", prompt: `script:${name}`, subagent_type: "general" }, sub: { name, call: sub }, leaves }
  },
}
