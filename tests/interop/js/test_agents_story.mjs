// The story of `./dev demo --agents`, judged: three services in two replicas each, users press Stop.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { bin, source } from './support/stack.mjs'

test('who presses Stop stops the deepest agent, and without Brakewire does not', async () => {
  const demo = join(source, 'examples/agents/demo.mjs')
  const { stdout } = await promisify(execFile)(
    process.execPath, [demo, '--json', '--conversations', '2'],
    { env: { ...process.env, BW_BIN: bin } },
  )
  const { without, with: withIt, failed, passed } = JSON.parse(stdout)
  assert.deepEqual(failed, [])
  assert.ok(passed)
  // Else the comparison shows nothing: the same programs must have something to stop.
  assert.equal(without.levels.searcher.finished_anyway, 2)
  assert.ok(without.levels.searcher.steps_after_stop > withIt.levels.searcher.steps_after_stop)
  assert.ok(without.writes_after_stop > withIt.writes_after_stop)
})
