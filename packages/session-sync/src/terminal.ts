// The terminal, for the core. See `Terminal` in crates/session-sync/src/cli.rs.

import { createInterface } from "node:readline"
import { Writable } from "node:stream"
import { text } from "node:stream/consumers"
import { SERVICE } from "./name.js"
import { Alone } from "./shared/alone.js"

const LINE_BEGIN = "\r\u001b[K"

export class Terminal extends Alone {
  constructor() {
    super(SERVICE)
  }

  print(line: string): void {
    if (process.stderr.isTTY) process.stderr.write(LINE_BEGIN)
    process.stdout.write(`${line}\n`)
  }

  progress(line: string): void {
    if (process.stderr.isTTY) process.stderr.write(`${LINE_BEGIN}${line}`)
  }

  /** Undefined if nobody can be asked. */
  async ask(question: string, hidden: boolean): Promise<string | undefined> {
    if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined
    process.stderr.write(question)
    const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
    const output = hidden ? nowhere : process.stderr
    const reader = createInterface({ input: process.stdin, output, terminal: true })
    // Whoever gives up is not asked again.
    reader.on("SIGINT", () => process.exit(130))
    const answer = await new Promise<string | undefined>((resolve) => {
      reader.once("line", resolve)
      reader.once("close", () => resolve(undefined))
    })
    reader.close()
    if (hidden) process.stderr.write("\n")
    return answer
  }

  /** Undefined if it is a terminal. */
  async piped(): Promise<string | undefined> {
    return process.stdin.isTTY ? undefined : await text(process.stdin)
  }
}
