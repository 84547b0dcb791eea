// The plugin, as OpenCode loads it. It carries events to the core (Rust, compiled to WebAssembly) and
// decides nothing. OpenCode waits for it at its end only.

import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Hooks, PluginInput, PluginModule } from "@opencode-ai/plugin"
import { events } from "./generated/types.js"
import { NAME, SERVICE } from "./name.js"
import { log } from "./shared/opencode.js"
import { beforeSignal } from "./shared/signals.js"
import { message } from "./shared/told.js"

const wanted = new Set(events)

/** Every event of a session has its id, in one of these places; releases differ. */
interface Properties {
  sessionID?: string
  info?: { id?: string; sessionID?: string }
  part?: { sessionID?: string }
  status?: { type?: string }
}

/** Leaves a command behind, in a process of its own. OpenCode's program runs JavaScript when it is asked to. */
function leave(command: string[]): void {
  const program = fileURLToPath(new URL("./cli.js", import.meta.url))
  const env = { ...process.env, BUN_BE_BUN: "1" }
  const child = spawn(process.execPath, [program, ...command], { detached: true, stdio: "ignore", windowsHide: true, env })
  // What is left is on disk, and goes out at the next start.
  child.on("error", () => {})
  child.unref()
}

async function server({ client, directory }: PluginInput): Promise<Hooks> {
  // Whatever else there is of this package is loaded later.
  const ready = import("./core.js").then(({ start }) => start(client, directory))
  ready.catch((error: unknown) => log(client, SERVICE, "error", `${NAME} could not be loaded, so sessions are not synced: ${message(error)}`))
  const dispose = async () => {
    const { command } = await (await ready)("dispose", {})
    if (command) leave(command)
  }
  const forget = beforeSignal(dispose)
  return {
    async event({ event }) {
      // A word of an answer is an event, too.
      if (!wanted.has(event.type)) return
      const { sessionID, info, part, status } = event.properties as Properties
      const sessionId = sessionID ?? part?.sessionID ?? info?.sessionID ?? info?.id
      if (!sessionId) return
      ready.then((call) => call("event", { type: event.type, sessionId, status: status?.type ?? null })).catch(() => {})
    },
    async dispose() {
      await dispose().catch(() => {})
      forget()
    },
  }
}

export default { id: NAME, server } satisfies PluginModule
