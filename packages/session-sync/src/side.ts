// OpenCode, for the core. See `OpenCode` in crates/session-sync/src/plugin.rs.

import type { PluginInput } from "@opencode-ai/plugin"
import { NAME, SERVICE } from "./name.js"
import { Machine } from "./shared/host.js"
import { die } from "./shared/mortal.js"
import { log, toast } from "./shared/opencode.js"

/** More sessions than anybody has: without a number OpenCode lists a hundred. */
const ALL = 1_000_000

export class Side extends Machine {
  constructor(readonly client: PluginInput["client"]) {
    super()
  }

  /** Undefined if OpenCode says that there is no such session. */
  async conversation(sessionID: string): Promise<string | undefined> {
    const path = { id: sessionID }
    const session = await this.client.session.get({ path })
    if (session.response.status === 404) return undefined
    if (!session.data) throw new Error(`OpenCode answers ${session.response.status}`)
    const messages = await this.client.session.messages({ path, throwOnError: true })
    return JSON.stringify({ info: session.data, messages: messages.data })
  }

  async sessions(): Promise<string> {
    // The types do not know the number.
    const query = { limit: ALL } as object
    return JSON.stringify((await this.client.session.list({ query, throwOnError: true })).data)
  }

  toast(message: string): void {
    toast(this.client, { title: "Session sync", message, variant: "warning" })
  }

  log(level: string, message: string): void {
    log(this.client, SERVICE, level, message)
  }

  dead(message: string): void {
    die(`${NAME} has crashed: ${message}`)
  }
}
