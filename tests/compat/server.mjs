// A daytona-local for the clients: with a directory of its own, until the test ends.
// DAYTONA_LOCAL_BIN names the program; without it the debug build of this repository is used.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const built = fileURLToPath(new URL('../../target/debug/daytona-local', import.meta.url))

/** Gives `{ url, apiKey, end }`. */
export async function serve() {
  const data = mkdtempSync(join(tmpdir(), 'daytona-local-'))
  const program = process.env.DAYTONA_LOCAL_BIN ?? built
  const server = spawn(program, ['serve', '--data', data, '--print', 'json', '--exit-with-parent'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise((resolve) => server.once('exit', resolve))
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: server.stdout }).once('line', resolve)
    server.once('error', reject)
    server.once('exit', (code) => reject(new Error(`daytona-local ended with ${code}`)))
  })
  const end = async () => {
    server.stdin.end()
    await ended
    rmSync(data, { recursive: true, force: true })
  }
  return { ...JSON.parse(line), end }
}

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
