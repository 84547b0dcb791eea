// The unmodified official TypeScript clients against daytona-local.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ensureSdks, load, modulePath, SDKS } from '../lib/sdks.mjs'
import { startLocal } from '../lib/world.mjs'
import { ending } from './ending.mjs'

ensureSdks()
for (const sdk of SDKS.filter(({ language }) => language === 'typescript')) describe(`the TypeScript client ${sdk.version}`, () => checks(sdk))

function checks(sdk) {
  const { Daytona, DaytonaConflictError, DaytonaNotFoundError, DaytonaTimeoutError } = load(sdk)
  let server, daytona, sandbox

  before(async () => {
    server = await startLocal()
    daytona = new Daytona({ apiUrl: server.url, apiKey: server.apiKey })
    sandbox = await daytona.create({ name: 'first', labels: { app: 'compat' }, envVars: { GIVEN: 'yes' } })
  })

  after(async () => {
    await daytona?.[Symbol.asyncDispose]?.()
    await server?.stop()
  })

  test('create, get and labels agree', async () => {
    assert.equal(sandbox.state, 'started')
    const found = await daytona.get('first')
    assert.equal(found.id, sandbox.id)
    assert.equal(found.labels.app, 'compat')
    await found.setLabels({ app: 'compat', more: 'x' })
    assert.equal((await daytona.get(sandbox.id)).labels.more, 'x')
  })

  test('list filters by label and pages through everything once', async () => {
    const made = await Promise.all([1, 2, 3].map((n) => daytona.create({ labels: { page: 'yes', n: `${n}` } })))
    const seen = []
    for await (const item of daytona.list({ labels: { page: 'yes' }, limit: 2, sort: 'createdAt' })) seen.push(item.id)
    assert.deepEqual(seen.sort(), made.map((s) => s.id).sort())
    await Promise.all(made.map((s) => s.delete()))
  })

  test('stop keeps files, delete ends in not found', async () => {
    const other = await daytona.create({ name: 'other' })
    await other.process.executeCommand('echo kept > f')
    await other.stop()
    assert.equal(other.state, 'stopped')
    await other.start()
    assert.equal((await other.process.executeCommand('cat f')).result, 'kept\n')
    await assert.rejects(daytona.create({ name: 'other' }), DaytonaConflictError)
    await other.delete()
    await assert.rejects(async () => {
      for (;;) await daytona.get(other.id)
    }, DaytonaNotFoundError)
  })

  test('executeCommand: code, cwd, env, timeout', async () => {
    const run = (...args) => sandbox.process.executeCommand(...args)
    assert.equal((await run('echo $GIVEN')).result, 'yes\n')
    assert.equal((await run('exit 3')).exitCode, 3)
    assert.equal((await run('pwd', '/tmp')).result, '/tmp\n')
    assert.equal((await run('echo $MORE', undefined, { MORE: 'env' })).result, 'env\n')
    // The older one has no class for it.
    await assert.rejects(run('sleep 30', undefined, undefined, 1), sdk.version === '0.187.0' ? /command execution timeout/ : DaytonaTimeoutError)
  })

  test('sessions keep state, separate outputs, follow logs', async () => {
    const { process } = sandbox
    await process.createSession('s1')
    await assert.rejects(process.createSession('s1'), DaytonaConflictError)
    await process.executeSessionCommand('s1', { command: 'cd /tmp; export A=1' })
    const sync = await process.executeSessionCommand('s1', { command: 'pwd; echo $A; echo bad >&2; (exit 4)' })
    assert.deepEqual([sync.exitCode, sync.stdout, sync.stderr], [4, '/tmp\n1\n', 'bad\n'])

    const later = await process.executeSessionCommand('s1', {
      command: 'read line; echo "got $line"',
      runAsync: true,
      suppressInputEcho: true,
    })
    let followed = ''
    const following = process.getSessionCommandLogs('s1', later.cmdId, (chunk) => (followed += chunk), () => {})
    await process.sendSessionCommandInput('s1', later.cmdId, 'word')
    await following
    assert.equal(followed, 'got word\n')
    assert.equal((await process.getSessionCommand('s1', later.cmdId)).exitCode, 0)
    assert.equal((await process.getSessionCommandLogs('s1', later.cmdId)).stdout, 'got word\n')
    assert.equal((await process.getSession('s1')).commands.length, 3)
    assert.ok((await process.listSessions()).some((s) => s.sessionId === 's1'))
    await process.deleteSession('s1')
    await assert.rejects(process.getSession('s1'), DaytonaNotFoundError)
  })

  test('terminals: made, joined by another, resized, ended and killed', async () => {
    const { process } = sandbox
    const watcher = () => {
      let text = ''
      const waiting = []
      const look = () => waiting.filter(({ part }) => text.includes(part)).forEach(({ resolve }) => resolve())
      return {
        onData: (data) => ((text += new TextDecoder().decode(data)), look()),
        shows: (part) => new Promise((resolve) => (waiting.push({ part, resolve }), look())),
      }
    }
    const [one, two] = [watcher(), watcher()]
    const made = await process.createPty({ id: 'p1', cols: 90, rows: 20, cwd: '/tmp', envs: { GIVEN: 'pty' }, onData: one.onData })
    const joined = await process.connectPty('p1', { onData: two.onData })
    await made.sendInput('echo $GIVEN in $PWD; stty size\n')
    await Promise.all([one, two].flatMap((seen) => [seen.shows('pty in /tmp'), seen.shows('20 90')]))
    assert.equal((await joined.resize(100, 30)).cols, 100)
    await joined.sendInput('stty size\n')
    await one.shows('30 100')
    assert.deepEqual((await process.listPtySessions()).map(({ id, active }) => [id, active]), [['p1', true]])
    await assert.rejects(process.createPty({ id: 'p1', onData() {} }))
    await made.sendInput('exit 5\n')
    assert.deepEqual([(await made.wait()).exitCode, (await joined.wait()).exitCode], [5, 5])
    const doomed = await process.createPty({ id: 'p2', onData() {} })
    await doomed.kill()
    assert.equal((await doomed.wait()).exitCode, 137)
    await assert.rejects(process.getPtySessionInfo('p2'), DaytonaNotFoundError)
  })

  test('files go up, come down, move and vanish', async () => {
    const { fs } = sandbox
    const bytes = Buffer.from([0, 255, 1, 254])
    await fs.createFolder('dir', '755')
    await fs.uploadFile(bytes, 'dir/one')
    await fs.uploadFiles([
      { source: Buffer.from('find me\n'), destination: 'dir/two.txt' },
      { source: Buffer.from('x'), destination: 'dir/deep/three.txt' },
    ])
    assert.deepEqual(await fs.downloadFile('dir/one'), bytes)
    assert.deepEqual((await fs.listFiles('dir')).map((f) => f.name), ['deep', 'one', 'two.txt'])
    const info = await fs.getFileDetails('dir/one')
    assert.deepEqual([info.size, info.isDir, info.permissions], [4, false, '0644'])
    await fs.setFilePermissions('dir/one', { mode: '600' })
    assert.equal((await fs.getFileDetails('dir/one')).permissions, '0600')
    const found = await fs.findFiles('dir', 'find me')
    assert.deepEqual(found.map((m) => [m.line, m.content]), [[1, 'find me']])
    assert.equal((await fs.searchFiles('dir', '*.txt')).files.length, 2)
    await fs.replaceInFiles(['dir/two.txt'], 'find', 'found')
    assert.equal((await fs.downloadFile('dir/two.txt')).toString(), 'found me\n')
    const many = await fs.downloadFiles([{ source: 'dir/one' }, { source: 'dir/none' }])
    assert.ok(many[0].result && !many[0].error && many[1].error)
    await assert.rejects(fs.moveFiles('dir/one', 'dir/two.txt'), DaytonaConflictError)
    await fs.moveFiles('dir/one', 'dir/four')
    await fs.deleteFile('dir/four')
    await assert.rejects(fs.getFileDetails('dir/four'), DaytonaNotFoundError)
    await assert.rejects(fs.downloadFile('dir/four'), DaytonaNotFoundError)
  })

  test('a preview link reaches a port inside', async () => {
    await sandbox.process.executeCommand(
      'mkdir -p web; echo hello > web/index.html; cd web; nohup python3 -m http.server 3000 >/dev/null 2>&1 </dev/null &',
    )
    const link = await sandbox.getPreviewLink(3000)
    const headers = { 'x-daytona-preview-token': link.token }
    let reply
    do reply = await fetch(link.url, { headers })
    while (reply.status === 502)
    assert.deepEqual([reply.status, await reply.text()], [200, 'hello\n'])
    const signed = await sandbox.getSignedPreviewUrl(3000)
    assert.equal(await (await fetch(signed.url)).text(), 'hello\n')
  })

  test('what is not there is not found', async () => {
    await assert.rejects(daytona.get('nobody'), DaytonaNotFoundError)
    assert.equal(await sandbox.getWorkDir(), '/home/daytona')
    assert.equal(await sandbox.getUserHomeDir(), '/home/daytona')
  })

  test('a program ends when its work is done', async () => {
    const program = `
      const { Daytona } = require(process.argv[1])
      const main = async () => {
        const daytona = new Daytona()
        const sandbox = await daytona.create()
        console.log((await sandbox.process.executeCommand('echo done')).result)
        await sandbox.delete()
        console.log('the last line')
      }
      main()`
    assert.match(await ending(process.execPath, ['--eval', program, modulePath(sdk)], server, 'the last line'), /^done$/m)
  })
}
