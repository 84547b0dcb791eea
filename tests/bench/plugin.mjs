// Runs inside the very Bun that OpenCode brings: loads the packed plugin as OpenCode does, with a
// client that only answers, and times calls of its tools. Reads its orders as JSON from argv.

const orders = JSON.parse(process.argv[2])
const start = performance.now()

if (orders.kind === "startup-sdk") {
  await import(orders.module)
  console.log(JSON.stringify({ ms: performance.now() - start }))
} else {
  const { default: plugin } = await import(orders.module)
  const client = {
    tui: { showToast: async () => {} },
    app: { log: async () => {}, agents: async () => ({ data: [{ name: "build", permission: [{ permission: "*", pattern: "*", action: "allow" }] }] }) },
    session: { get: async () => ({ data: {} }) },
  }
  const { directory, worktree } = orders
  const hooks = await plugin.server({ client, directory, worktree, project: { id: orders.project } }, orders.options)
  if (orders.kind === "startup-plugin") {
    console.log(JSON.stringify({ ms: performance.now() - start }))
    process.exit(0)
  }
  let message = 0
  const call = (tool, args) =>
    hooks.tool[tool].execute(args, { sessionID: orders.session, messageID: `m${++message}`, agent: "build", abort: new AbortController().signal, ask: async () => {} })
  const control = (method, path, body) =>
    fetch(orders.server + path, { method, body: JSON.stringify(body), headers: { authorization: `Bearer ${process.env.DAYTONA_API_KEY}`, "content-type": "application/json" } }).then((r) => r.text())
  if (orders.kind === "home") {
    const { homeCalls } = await import("./home-calls.mjs")
    console.log(JSON.stringify(await homeCalls({ hooks, call, control, orders })))
    process.exit(0)
  }
  if (orders.kind === "first") {
    const session = { sessionID: orders.session, info: { id: orders.session } }
    await hooks.event({ event: { type: "session.created", properties: session } })
    await control("DELETE", "/_test/requests")
    const started = performance.now()
    const { output } = await call("bash", { command: "echo there" })
    const ms = performance.now() - started
    if (!output.startsWith("there")) throw new Error(`the first call failed: ${output}`)
    const { total, bytes } = JSON.parse(await control("GET", "/_test/requests"))
    console.log(JSON.stringify({ ms, requests: total, uploaded: bytes["POST /toolbox/{sandboxId}/files/bulk-upload"]?.in ?? 0 }))
    process.exit(0)
  }
  const requests = async () => JSON.parse(await control("GET", "/_test/requests")).total

  await hooks.event({ event: { type: "session.created", properties: { sessionID: orders.session, info: { id: orders.session } } } })
  const out = { firstUse: {}, roundTrips: {}, warmMs: {}, parallel: {} }
  await control("POST", "/_test/latency", { ms: orders.latencies.at(-1) })
  await control("DELETE", "/_test/requests")
  let t = performance.now()
  await call("bash", { command: "true" })
  out.firstUse = { requests: await requests(), ms: performance.now() - t, latencyMs: orders.latencies.at(-1) }

  const patch = (n, from, to) =>
    `*** Begin Patch\n${[1, 2, 3, 4, 5].map((i) => `*** Update File: bench/p${i}.txt\n@@\n-${from}\n+${to}\n`).join("")}*** End Patch`
  await call("bash", { command: "mkdir -p bench && for i in 1 2 3 4 5; do printf 'one\\n' > bench/p$i.txt; done; printf 'v0\\n' > bench/e.txt" })
  const calls = {
    bash: () => ["bash", { command: "echo hello" }],
    read: () => ["read", { filePath: "bench/e.txt" }],
    write: (n) => ["write", { filePath: "bench/w.txt", content: `${n}\n` }],
    edit: (n) => ["edit", { filePath: "bench/e.txt", oldString: `v${n}`, newString: `v${n + 1}` }],
    apply_patch: (n) => ["apply_patch", { patchText: n % 2 ? patch(n, "two", "one") : patch(n, "one", "two") }],
    glob: () => ["glob", { pattern: "**/*.txt" }],
    grep: () => ["grep", { pattern: "one|two" }],
  }
  const counter = {}
  const next = async (tool) => {
    const n = (counter[tool] = (counter[tool] ?? -1) + 1)
    const [name, args] = calls[tool](n)
    const t = performance.now()
    await call(name, args)
    return performance.now() - t
  }
  for (const tool of Object.keys(calls)) {
    await next(tool)
    await control("DELETE", "/_test/requests")
    await next(tool)
    out.roundTrips[tool] = await requests()
  }
  for (const tool of Object.keys(calls)) out.warmMs[tool] = {}
  // The latencies take turns, so that a drift of the machine's speed meets all alike.
  const samples = {}
  for (let round = 0; round < orders.rounds; round++) {
    for (const ms of orders.latencies) {
      await control("POST", "/_test/latency", { ms })
      for (const tool of Object.keys(calls)) ((samples[tool] ??= {})[ms] ??= []).push(await next(tool))
    }
  }
  for (const [tool, byLatency] of Object.entries(samples)) {
    for (const [ms, values] of Object.entries(byLatency)) {
      values.sort((a, b) => a - b)
      out.warmMs[tool][ms] = { median: values[Math.floor(values.length / 2)], p95: values[Math.min(values.length - 1, Math.floor(values.length * 0.95))] }
    }
  }
  await control("POST", "/_test/latency", { ms: 0 })

  // Edits of one file at different places, all at once.
  await call("write", { filePath: "bench/many.txt", content: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => `line ${n}\n`).join("") })
  await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((n) => call("edit", { filePath: "bench/many.txt", oldString: `line ${n}\n`, newString: `done ${n}\n` })))
  const { output } = await call("bash", { command: "grep -c done bench/many.txt" })
  out.parallel.edits = Number(output.trim())
  await hooks.event({ event: { type: "session.deleted", properties: { sessionID: orders.session, info: { id: orders.session } } } })
  await new Promise((done) => setTimeout(done, 500))
  console.log(JSON.stringify(out))
  process.exit(0)
}
