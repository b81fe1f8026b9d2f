// Servers of other protocols, each in a process of its own that does not outlive the test.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Start support/<script> beside the agentd with this socket. What it says first, and stop(). */
export async function startReplica(script, agentd, environment = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'bw-'))
  const quiet = process.env.BW_LOUD === undefined
  const child = fork(join(import.meta.dirname, script), [], {
    stdio: ['ignore', quiet ? 'ignore' : 'inherit', quiet ? 'ignore' : 'inherit', 'ipc'],
    env: { ...process.env, ...environment, AGENTD: agentd, FOLDER: folder },
  })
  const ended = once(child, 'exit')
  const [first] = await Promise.race([
    once(child, 'message'),
    ended.then(([code]) => { throw new Error(`${script} ended with ${code}`) }),
  ])
  return {
    ...first,
    async stop() {
      child.kill('SIGKILL')
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}
