// What the core calls in a process without an OpenCode: the command line program, and the stand-in
// for a shell.

import { Machine } from "./host.js"
import { die } from "./mortal.js"
import type { Progress } from "./generated/types.js"

export class Alone extends Machine {
  constructor() {
    super()
    // Nothing else keeps the process alive while the core waits for its time.
    setInterval(() => {}, 2 ** 30)
  }

  /** Nobody is asked: the user typed the command. */
  async ask(): Promise<boolean> {
    return true
  }
  async parent(): Promise<undefined> {}
  progress(_: number, json: string): void {
    const { output }: Progress = JSON.parse(json)
    process.stdout.write(output ?? "")
  }
  toast(): void {}
  terminal(): boolean {
    return true
  }
  log(): void {}
  dead(message: string): void {
    die(message)
  }
}
