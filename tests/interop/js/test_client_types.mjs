// The hand-written types of clients/js: a program that uses them is checked by tsc in strict mode, and
// so is that they promise what the modules export.
import assert from 'node:assert/strict'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { source } from './support/stack.mjs'

const modules = ['.', './a2a', './context', './express', './langgraph']

const program = `
import { CancelledError, type CancelAnswer, connect, currentRun, FencedError, FrozenError, type Run, start, withRun } from 'brakewire'
import { protect } from 'brakewire/langgraph'
import { A2A_EXTENSION, parse, toA2A, verify } from 'brakewire/context'

export async function agent(headers: Record<string, string | string[] | undefined>): Promise<string> {
  const run: Run = await start({ agent: 'x', headers, labels: { a: 'b' }, stop: [{ kind: 'notify', graceMs: 5 }] })
  run.on('cancel', (reason) => console.log(reason.graceMs, reason.action satisfies 'interrupt' | 'rollback'))
  const response = await fetch('http://localhost/', { signal: run.signal, headers: run.headers() })
  const { granted, last } = await run.fence('w', new Uint8Array(3))
  const answer: CancelAnswer = await run.cancelChildren({ reason: 'x', wait: 'stopped' })
  if (run.signal.reason instanceof CancelledError) await run.ack('cleaned_up')
  const { state } = await run.end(granted && last ? 'cancelled' : 'success')
  const child = connect({ strict: true }).start({ parent: run, onLost: 'takeover' })
  const error: unknown = new Error()
  if (error instanceof FrozenError || error instanceof FencedError) console.log(error.code)
  console.log(await withRun({}, async (inner) => inner.epoch + 1), currentRun()?.runId, (await child).path.length)
  const message = toA2A(run.baggage, { messageId: 'm' })
  console.log(message.messageId, message.extensions.includes(A2A_EXTENSION), parse(run.baggage).path, verify('', { k: 'v' }) === 'none')
  console.log(protect({ invoke: async () => 1, stream: async () => 1, name: 'x' }, () => ({ agent: 'y' })).name)
  return state + answer.cancelId + response.status
}

// @ts-expect-error there is no such state
export const wrong = (run: Run) => run.end('finished')
// @ts-expect-error there is no such policy
export const wrongToo = () => start({ onEnd: 'explode' })
`

// The libraries' own types are not ours to check.
const withLibraries = `
import { type BaseCheckpointSaver, MessagesAnnotation, START, StateGraph } from '@langchain/langgraph'
import type { AgentExecutor } from '@a2a-js/sdk/server'
import type { AgentExecutor as AgentExecutorOfOld } from 'a2a-sdk-0.3/server'
import type { CallInterceptor } from '@a2a-js/sdk/client'
import express from 'express'
import { interceptor, protect as protectExecutor, withContext } from 'brakewire/a2a'
import { brakewire } from 'brakewire/express'
import { fenced, node, protect } from 'brakewire/langgraph'

export const executor: AgentExecutor = protectExecutor({ async execute(context, bus, run) { console.log(run.signal.aborted) } })
export const executorOfOld: AgentExecutorOfOld = protectExecutor(executor, (context) => ({ threadId: context.contextId }))
export const interceptors: CallInterceptor[] = [interceptor()]
console.log(withContext({ messageId: 'm' }).messageId)

express()
  .use(brakewire({ agent: 'x', onDisconnect: 'continue' }))
  .use(brakewire((request: express.Request) => ({ threadId: request.path })))
  .get('/', (request, response) => void response.json(request.brakewire.headers()))

export async function graph(saver: BaseCheckpointSaver) {
  const own = node(async (state: typeof MessagesAnnotation.State, { signal }, run) => {
    console.log(signal.aborted, run.runId)
    return { messages: state.messages }
  })
  const built = new StateGraph(MessagesAnnotation).addNode('own', own).addEdge(START, 'own')
  const { messages } = await protect(built.compile({ checkpointer: fenced(saver) }), { labels: { a: 'b' } }).invoke({ messages: [] })
  return messages.length
}
`

function tsc(folder) {
  const compiler = join(source, 'tests/interop/js/node_modules/typescript/bin/tsc')
  return spawnSync(process.execPath, [compiler, '-p', folder], { encoding: 'utf8' })
}

async function check(text, skipLibCheck) {
  const folder = await mkdtemp(join(tmpdir(), 'bw-types-'))
  try {
    await symlink(join(source, 'tests/interop/js/node_modules'), join(folder, 'node_modules'))
    await writeFile(join(folder, 'package.json'), '{"type":"module"}')
    await writeFile(join(folder, 'program.ts'), text)
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({
      compilerOptions: {
        strict: true, noEmit: true, module: 'nodenext', target: 'es2022', lib: ['es2022', 'esnext.disposable', 'dom', 'dom.iterable'],
        types: ['node'], skipLibCheck, exactOptionalPropertyTypes: true,
      },
      files: ['program.ts'],
    }))
    const { status, stdout } = tsc(folder)
    assert.equal(status, 0, stdout)
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('a program that uses the types is accepted, and one that misuses them is not', () => check(program, false))

test('so is one that uses them with the libraries that they are for', () => check(withLibraries, true))

test('what a module exports has a type, and what has a type is exported', async () => {
  const { readFileSync } = await import('node:fs')
  const { exports, dependencies } = JSON.parse(readFileSync(join(source, 'clients/js/package.json'), 'utf8'))
  assert.equal(dependencies, undefined)
  assert.deepEqual(Object.keys(exports).filter((name) => name !== './package.json').sort(), [...modules].sort())
  for (const name of modules) {
    const types = readFileSync(join(source, 'clients/js', exports[name].types), 'utf8')
    const declared = [...types.matchAll(/^export (?:declare )?(?:class|function|const) (\w+)/gm)].map(([, word]) => word)
    const real = Object.keys(await import(join('brakewire', name)))
    assert.deepEqual([...new Set(declared)].sort(), real.sort(), name)
  }
})
