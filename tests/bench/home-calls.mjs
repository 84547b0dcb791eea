// The calls whose cost home.mjs reports: the first of a session, and two syncs. Runs where plugin.mjs does.

export async function homeCalls({ hooks, call, control, orders }) {
  /** Runs `work` and gives what the server counted meanwhile. */
  const counted = async (work) => {
    await control("DELETE", "/_test/requests")
    const start = performance.now()
    const result = await work()
    const ms = performance.now() - start
    const { total, bytes, bytesTotal } = JSON.parse(await control("GET", "/_test/requests"))
    const uploaded = bytes["POST /toolbox/{sandboxId}/files/bulk-upload"]?.in ?? 0
    return { ms, requests: total, uploaded, received: bytesTotal.out, result }
  }
  const sync = async () => {
    const { result, ...cost } = await counted(() => call("sync", {}))
    return { ...cost, output: result.output }
  }
  const session = { sessionID: orders.session, info: { id: orders.session } }
  await control("POST", "/_test/latency", { ms: orders.latencyMs })
  const { result, ...first } = await counted(async () => {
    await hooks.event({ event: { type: "session.created", properties: session } })
    return call("bash", { command: "mkdir -p src/d1 && touch src/d1/file1.txt && echo there" })
  })
  if (!result.output.startsWith("there")) throw new Error(`the first call failed: ${result.output}`)
  await control("POST", "/_test/latency", { ms: 0 })
  // What a turn leaves undone is not to be counted below.
  await call("sync", {})
  const unchanged = await sync()
  await call("bash", { command: "sed -i '1s/.*/changed/' src/d1/file1.txt; [ -s src/d1/file1.txt ] || echo changed > src/d1/file1.txt" })
  const changed = await sync()
  await hooks.event({ event: { type: "session.deleted", properties: session } })
  return { first, unchanged, changed }
}
