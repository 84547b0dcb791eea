// What is said to OpenCode and asked of it without the core, too: its release, the log, toasts.

import type { PluginInput } from "@opencode-ai/plugin"

type Client = PluginInput["client"]

interface Toast {
  title: string
  message: string
  variant: string
}

/** The release that OpenCode says it is. The client for plugins has no name for this question. */
export async function release(client: Client): Promise<string | undefined> {
  const { _client } = client as unknown as { _client: { get(request: { url: string }): Promise<{ data?: { version?: string } }> } }
  return (await _client.get({ url: "/global/health" })).data?.version
}

// Neither is awaited: OpenCode must not wait for a toast, nor a toast for its terminal.
export function toast(client: Client, toast: Toast): void {
  const variant = toast.variant as "info" | "success" | "warning" | "error"
  void quietly(() => client.tui.showToast({ body: { ...toast, variant } }))
}

/** `service` is the name under which the line is found in the log. */
export function log(client: Client, service: string, level: string, message: string): void {
  const body = { service, level: level as "debug" | "info" | "warn" | "error", message }
  void quietly(() => client.app.log({ body }))
}

/** Whatever goes wrong with a word to the user is no reason to fail, least of all while loading. */
async function quietly(say: () => Promise<unknown>): Promise<void> {
  try {
    await say()
  } catch {}
}
