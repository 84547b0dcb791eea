// While a command runs, its output is seen: on the event stream, which is what the terminal UI draws.

import assert from "node:assert/strict"
import { test } from "node:test"
import { createWorld, eventually } from "../lib/world.mjs"

test("a running command's output grows on the event stream, and the result is whole", async () => {
  const command = "echo first; while [ ! -e go ]; do sleep 0.05; done; echo last"
  const world = await createWorld({
    files: { "a.txt": "a\n" },
    scripts: { slow: [{ calls: [["bash", { command }]] }], warm: [{ calls: [["bash", { command: "true" }]] }] },
  })
  const seen = []
  let stop
  try {
    const opencode = await world.serve()
    const session = await opencode.session()
    await opencode.prompt(session, "script:warm")
    stop = await opencode.watch(({ type, properties }) => {
      const part = properties?.part
      if (type === "message.part.updated" && part?.tool === "bash" && part.sessionID === session) seen.push(part.state)
    })
    const running = opencode.prompt(session, "script:slow")
    const live = await eventually("live output", () => seen.find((state) => state.status === "running" && state.metadata?.output === "first\n"), 20)
    assert.equal(live.title, command)
    assert.equal(live.input.command, command, "the part keeps its input")
    const { sandboxId } = world.store().sessions[session]
    await world.local.control("POST", `/toolbox/${sandboxId}/process/execute`, { command: "touch /home/daytona/project/go", timeout: 10 })
    const [result] = await running
    assert.equal(result.output, "first\nlast\n")
    assert.equal(result.metadata.output, "first\nlast\n")
    await stop()
    assert.equal(seen.at(-1).status, "completed", "nothing comes after the end")
  } finally {
    await stop?.()
    await world.close()
  }
})
