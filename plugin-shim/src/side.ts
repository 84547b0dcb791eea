// OpenCode, for the core: permission questions, parents of sessions, toasts, the log; and the
// news that the core has died. See `OpenCode` in crates/plugin.

import type { PluginInput, ToolContext } from "@opencode-ai/plugin"
import { Machine } from "./host.js"
import type { Permission, Toast } from "./generated/types.js"

/** A tool call that is under way. */
export interface Running {
  context: ToolContext
  /** What OpenCode threw at a permission question: thrown on unchanged. */
  rejection?: unknown
}

export class Side extends Machine {
  readonly running = new Map<number, Running>()
  /** Rejects when the core dies. */
  readonly death: Promise<never>
  #die!: (error: Error) => void

  constructor(readonly client: PluginInput["client"]) {
    super()
    this.death = new Promise((_, reject) => (this.#die = reject))
    this.death.catch(() => {})
  }

  dead(message: string): void {
    this.#die(new Error(`opencode-daytona-sandbox has crashed and refuses every tool until OpenCode is started again: ${message}`))
  }

  async ask(call: number, json: string): Promise<boolean> {
    const running = this.running.get(call)
    if (!running) return false
    const question: Permission = JSON.parse(json)
    try {
      await running.context.ask(question)
      return true
    } catch (error) {
      running.rejection = error
      return false
    }
  }

  async parent(sessionID: string): Promise<string | undefined> {
    const session = await this.client.session.get({ path: { id: sessionID } })
    return session.data?.parentID
  }

  // Neither is awaited: OpenCode must not wait for a toast, nor a toast for its terminal.
  toast(json: string): void {
    const toast: Toast = JSON.parse(json)
    const variant = toast.variant as "info" | "success" | "warning" | "error"
    this.client.tui.showToast({ body: { ...toast, variant } }).catch(() => {})
  }

  log(level: string, message: string): void {
    const body = { service: "opencode-daytona-sandbox", level: level as "debug" | "info" | "warn" | "error", message }
    this.client.app.log({ body }).catch(() => {})
  }
}
