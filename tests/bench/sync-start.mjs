// How long session sync keeps OpenCode's start: in the JavaScript engine that OpenCode brings, as the first
// thing that it loads. Prints JSON.

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
await hooks.dispose()
console.log(JSON.stringify({ ms, longest }))
process.exit(0)
