// What OpenCode 2 loads. This release does not serve it, and OpenCode 2 goes on with its own tools, on this
// machine, without a plugin that it cannot load or whose `setup` throws. So `setup` throws nothing, and
// takes the place of every tool that touches the machine, with one that refuses; and of shells and
// attached files. The shapes are those of OpenCode 2.0 to 2.3, as documented and reported until November 2026;
// what a release does not have is left out.

import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { refusals } from "./generated/refusals.js"
import { NAME } from "./name.js"

/** What OpenCode 2 gives a plugin, as far as it is used. */
export interface Context {
  readonly app: { readonly version?: string }
  readonly tool: {
    transform(change: (editor: { add(tool: Tool): void }) => void): unknown
    hook(name: "execute.before", hook: (event: { readonly tool: string }) => Promise<void>): unknown
  }
  readonly session: { hook(name: "prompt", hook: (event: { prompt: { files?: { uri: string }[] } }) => Promise<void>): unknown }
  readonly shell: { hook(name: "create.before", hook: (event: { shell: string; command: string; env?: Record<string, string> }) => Promise<void>): unknown }
}

interface Tool {
  readonly name: string
  readonly description: string
  readonly input: object
  readonly permission: string
  readonly options: { readonly codemode: boolean; readonly permission: string }
  execute(): Promise<never>
}

const { text, tools } = refusals.two
/** A tool is hidden if its permission is denied. The user has denied OpenCode's own tools, and must hear why nothing runs. */
const PERMISSION = NAME

/**
 * `message` gives the words of an error. It is handed in, and nothing is imported that the build makes: the
 * development entry (`.opencode`) refuses with this file before there is a build.
 */
export async function setup(context: Context, message: (error: unknown) => string): Promise<void> {
  let reason = text.replace("{release}", "OpenCode 2")
  const say = (what: string) => console.error(`${NAME}: ${what}`)
  const attempt = async (what: string, work: () => unknown) => {
    try {
      await work()
    } catch (error) {
      say(`${what} cannot be had in this OpenCode: ${message(error)}`)
    }
  }
  const refuse = async (): Promise<never> => {
    // The tag is what OpenCode's own error for a refused call has.
    throw Object.assign(new Error(reason), { _tag: "Tool.Error" })
  }
  await attempt("its release", () => {
    const { version } = context.app
    if (version) reason = text.replace("{release}", version)
  })
  say(reason)
  await attempt("tools", () =>
    context.tool.transform((editor) => {
      for (const name of tools) {
        try {
          editor.add({ name, description: reason, input: { type: "object", properties: {} }, permission: PERMISSION, options: { codemode: false, permission: PERMISSION }, execute: refuse })
        } catch (error) {
          say(`the tool ${name} cannot be replaced in this OpenCode: ${message(error)}`)
        }
      }
    }),
  )
  await attempt("calls of tools", () =>
    context.tool.hook("execute.before", async ({ tool }) => {
      if ((tools as readonly string[]).includes(tool) || tool.startsWith("browser")) await refuse()
    }),
  )
  await attempt("attached files", () =>
    context.session.hook("prompt", async ({ prompt }) => {
      if (prompt.files) prompt.files = prompt.files.filter(({ uri }) => uri.startsWith("data:"))
    }),
  )
  await attempt("shells", () =>
    context.shell.hook("create.before", async (event) => {
      const shell = join(dirname(fileURLToPath(import.meta.url)), "sandbox-shell")
      // Whichever of the two counts, nothing of the user's runs.
      Object.assign(event, { shell, command: "exit 1", env: { ...event.env, OPENCODE_DAYTONA_REFUSED: reason } })
    }),
  )
}
