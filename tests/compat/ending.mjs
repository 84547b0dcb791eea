// A program of a client, and whether it ends by itself.

import { spawn } from 'node:child_process'

/** Runs a program of a client to its end; gives its output. Fails if it does not end by itself soon after `last`, its last line. */
export function ending(command, args, { url, apiKey }, last) {
  const env = { ...process.env, DAYTONA_API_URL: url, DAYTONA_API_KEY: apiKey }
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let lingers
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data) => {
        output += data
        // A client that waits for what never comes holds its program for three minutes.
        if (output.includes(last)) lingers ??= setTimeout(() => child.kill('SIGKILL'), 60_000)
      })
    }
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(lingers)
      if (signal) reject(new Error(`it did not end after its last line: ${output}`))
      else if (code !== 0) reject(new Error(output))
      else resolve(output)
    })
  })
}
