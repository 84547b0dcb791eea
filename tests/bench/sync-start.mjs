// How long session sync keeps OpenCode's start, and what the events of a turn take: in the JavaScript engine that
// OpenCode brings. Prints JSON.

const [module, directory] = process.argv.slice(2)
const client = new Proxy(() => {}, { get: (_, name) => (name === "then" ? undefined : client), apply: () => Promise.resolve({ data: [], response: { status: 200 } }) })
const start = performance.now()
const { default: plugin } = await import(module)
const hooks = await plugin.server({ client, directory, worktree: directory, project: { id: "bench" } }, {})
const ms = performance.now() - start
// The longest that OpenCode could not do anything else, until the core is there.
let [longest, last, is] = [0, performance.now(), true]
const beat = () => {
  const now = performance.now()
  longest = Math.max(longest, now - last)
  last = now
  if (is) setImmediate(beat)
}
beat()
await new Promise((done) => setTimeout(done, 1_000))
is = false
// The events of a turn of 2,000 pieces, as they were seen (1.18.33): all that OpenCode waits for in a turn.
const turn = () => {
  const event = (type, more) => ({ event: { type, properties: { sessionID: "ses_bench", ...more } } })
  const pieces = Array.from({ length: 2_000 }, () => event("message.part.delta", { partID: "p", field: "text", delta: "piece " }))
  const others = ["session.updated", "message.updated", "message.part.updated"].flatMap((type) => Array.from({ length: 6 }, () => event(type, {})))
  return [event("session.status", { status: { type: "busy" } }), ...pieces, ...others, event("session.idle", {})]
}
const events = []
for (let n = 0; n < 20; n++) {
  const begin = performance.now()
  for (const event of turn()) await hooks.event(event)
  events.push(performance.now() - begin)
}
await hooks.dispose()
console.log(JSON.stringify({ ms, longest, events: events.toSorted((a, b) => a - b)[10] }))
process.exit(0)
