// The unmodified official Python clients against daytona-local, with the programs that users write: sdk.py.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ensureSdks, python, SDKS } from '../lib/sdks.mjs'
import { startLocal } from '../lib/world.mjs'
import { ending } from './ending.mjs'

const program = fileURLToPath(new URL('sdk.py', import.meta.url))

let server

before(async () => {
  ensureSdks()
  server = await startLocal()
})

after(() => server?.stop())

for (const sdk of SDKS.filter(({ language }) => language === 'python')) {
  test(`the Python client ${sdk.version} does what it does with Daytona, and its program ends`, async () => {
    const output = await ending(python(sdk), [program], server, 'ok is gone')
    assert.equal(output.match(/^ok .*$/gm)?.length, 7, output)
  })
}
