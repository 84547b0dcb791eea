// What the core calls in the command line program and in the stand-in for a shell.

import type { Progress } from "./generated/types.js"
import { NAME } from "./name.js"
import { Alone } from "./shared/alone.js"

export class Command extends Alone {
  constructor() {
    super(NAME)
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
}
