// OpenCode's own screen, in a terminal.

import { execFileSync } from "node:child_process"
import { join } from "node:path"
import { eventually, opencodeBinary } from "./world.mjs"

/** OpenCode's terminal UI in a terminal of its own: what it shows, and keys for it. */
export function openTerminal(world) {
  const socket = join(world.base, "tmux")
  const tmux = (...args) => execFileSync("tmux", ["-S", socket, ...args], { encoding: "utf8", env: { ...world.environment, TERM: "xterm-256color" } })
  // Its end stays on the screen: Ctrl-C is for OpenCode, not for this shell.
  const script = `trap : INT; ${opencodeBinary()}; echo "ended with $?"; sleep 1000`
  tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", "120", "-y", "40", "-c", world.project, "sh", "-c", script)
  const keys = (...keys) => tmux("send-keys", "-t", "t", ...keys)
  const screen = () => tmux("capture-pane", "-p", "-t", "t")
  const shows = (what, seconds = 60) =>
    eventually(`the terminal shows ${what}`, () => what.test(screen()), seconds).catch((error) => {
      throw new Error(`${error.message}\n${screen()}`)
    })
  return {
    keys,
    shows,
    screen,
    /** Types a prompt, without sending it. */
    async type(prompt) {
      await shows(/Ask anything/)
      // What is typed too early is lost.
      const typed = () => screen().includes(prompt)
      await eventually("the prompt is typed", () => keys(prompt) === "" && eventually("it shows", typed, 3))
    },
    close: () => tmux("kill-server"),
  }
}
