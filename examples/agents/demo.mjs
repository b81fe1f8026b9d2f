// A user presses Stop. What happens three services further down, with and without Brakewire, seen
// from outside and measured in one run: `./dev demo --agents`.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { ask, LEVELS, startChain } from './chain.mjs'

const { values: flags } = parseArgs({
  options: {
    conversations: { type: 'string', default: '4' },
    json: { type: 'boolean', default: false },
    agents: { type: 'boolean', default: false }, // how ./dev was told to come here
    help: { type: 'boolean', default: false },
  },
})
if (flags.help) {
  console.log('usage: ./dev demo --agents [--conversations N] [--json]')
  process.exit(0)
}
const conversations = Array.from({ length: Number(flags.conversations) }, (_, i) => `conversation-${i + 1}`)
const now = () => performance.timeOrigin + performance.now()
const median = (sorted) => sorted[Math.floor(sorted.length / 2)]
const say = (text) => { if (!flags.json) console.log(text) }

/** Look until it is so; bounded. */
async function until(look, what, seconds = 60) {
  const end = now() + seconds * 1000
  while (!look()) {
    if (now() > end) throw new Error(`waited ${seconds} s in vain: ${what}`)
    await new Promise((next) => setTimeout(next, 10))
  }
}

async function startBrakewire(folder) {
  const brakectl = join(process.env.BW_BIN, 'brakectl')
  const up = spawn(brakectl, ['--json', 'up', '--any-port', '--agentds', '6', '--dir', folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(up, 'exit')
  const [line] = await once(createInterface({ input: up.stdout }), 'line')
  return { ...JSON.parse(line), stop: async () => { up.kill('SIGTERM'); await ended } }
}

const linesOf = (work, conversation, level) =>
  work.filter((line) => line.conversation === conversation && line.level === level)

/** Every level of every conversation is at work, and the user sees the deepest one's progress. */
function allAtWork(chain, pages) {
  return () => {
    const broken = pages.flatMap(({ events }) => events).find(({ event }) => event === 'error')
    if (broken) throw new Error(`an agent failed: ${broken.data.message}`)
    return isAtWork(chain, pages)
  }
}

function isAtWork(chain, pages) {
  if (!pages.every(({ events }) => events.some(({ event }) => event === 'progress'))) return false
  const work = chain.work() // there is a ledger: somebody's progress was seen
  return conversations.every((name) => LEVELS.every((level) => linesOf(work, name, level).length > 0))
}

function isOver(chain) {
  const work = chain.work()
  return conversations.every((conversation) =>
    LEVELS.every((level) => linesOf(work, conversation, level).some(({ what }) => what !== 'step')))
}

/** What happened after Stop, per level; times in ms from Stop to the last sign of life. */
function look(work, stops) {
  const levels = {}
  for (const level of LEVELS) {
    const all = conversations.map((conversation, i) => {
      const lines = linesOf(work, conversation, level)
      return {
        after: Math.max(...lines.map(({ at }) => at)) - stops[i],
        steps: lines.filter(({ at, what }) => what === 'step' && at > stops[i]).length,
        finished: lines.some(({ what }) => what === 'finished'),
      }
    })
    levels[level] = {
      stopped_after_ms: all.map(({ after }) => after).sort((a, b) => a - b),
      steps_after_stop: all.reduce((sum, { steps }) => sum + steps, 0),
      finished_anyway: all.filter(({ finished }) => finished).length,
    }
  }
  return levels
}

async function play(folder, agentds, pressStop) {
  const chain = await startChain(folder, agentds)
  try {
    const pages = await Promise.all(conversations.map((name, i) => ask(chain.supervisors[i % 2], name)))
    await until(allAtWork(chain, pages), 'all agents at work')
    const stops = []
    const answered = []
    const answers = await Promise.all(pages.map(async (page, i) => {
      stops[i] = now()
      const answer = await pressStop(page)
      answered[i] = now()
      return answer
    }))
    await until(() => isOver(chain), 'everybody stopped or finished')
    await Promise.all(pages.map((page) => page.ended))
    const work = chain.work()
    const levels = look(work, stops)
    const writes = chain.writes()
    return {
      levels,
      answers,
      answer_after_ms: median(answered.map((at, i) => at - stops[i]).sort((a, b) => a - b)),
      writes_after_stop: writes.filter((at) => at > Math.max(...stops)).length,
      work_after_answer: work.filter(({ at, what, conversation }) =>
        what === 'step' && at > answered[conversations.indexOf(conversation)]).length,
      writes_after_answer: writes.filter((at) => at > Math.max(...answered)).length,
      last_events: pages.map((page) => page.events.at(-1)?.event),
    }
  } finally {
    await chain.stop()
  }
}

/** Without: the user's browser hangs up, which is all that it can do. */
async function hangUp(page) {
  page.hangUp()
  return undefined
}

/** With: one call to the control plane, answered when it is true. */
const cancelAt = (broker) => async (page) => {
  const answer = await fetch(`${broker}/v1/runs/${page.runId}/cancel`, {
    method: 'POST',
    body: JSON.stringify({ reason: 'the user pressed Stop', wait: 'stopped', timeout_ms: 30000 }),
  })
  return answer.json()
}

const time = (ms) => (ms < 1000 ? `${Math.max(0, ms).toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`)

function print(without, withIt) {
  const row = (what, a, b) => say(`  ${what.padEnd(34)}${String(a).padEnd(28)}${b}`)
  const n = conversations.length
  say('')
  row('after Stop', 'without Brakewire', 'with Brakewire')
  for (const level of LEVELS) {
    const cell = ({ levels: { [level]: it } }) =>
      `${time(median(it.stopped_after_ms))}${it.finished_anyway ? `, ${it.finished_anyway} of ${n} to the end` : ''}`
    row(`${level}: last sign of life`, cell(without), cell(withIt))
  }
  const steps = (it) => LEVELS.reduce((sum, level) => sum + it.levels[level].steps_after_stop, 0)
  row('steps worked on', steps(without), steps(withIt))
  row('checkpoints written', without.writes_after_stop, withIt.writes_after_stop)
  const counts = withIt.answers[0].counts ?? {}
  row('the user learns', 'nothing', `${counts.stopped} of ${counts.runs} stopped, after ${time(withIt.answer_after_ms)}`)
  row("the user's stream ends with", without.last_events[0] ?? 'nothing', withIt.last_events[0])
  say('')
}

/** What must be true with Brakewire; each line is shown. */
function judge(it) {
  const n = conversations.length
  return [
    ['every answer says complete', it.answers.every((answer) => answer.complete === true)],
    ['three runs of each tree have stopped', it.answers.every(({ counts }) => counts?.stopped === 3 && counts.runs === 3)],
    ['nobody finished anyway', LEVELS.every((level) => it.levels[level].finished_anyway === 0)],
    ['no agent worked after the answer', it.work_after_answer === 0],
    ['no checkpoint was written after the answer', it.writes_after_answer === 0],
    ['at most one last checkpoint a run', it.writes_after_stop <= 3 * n],
    ['every stream ended with the event `cancelled`', it.last_events.every((event) => event === 'cancelled')],
  ]
}

const folder = mkdtempSync(join(tmpdir(), 'bw-agents-'))
try {
  say(`supervisor (LangGraph.js) -> researcher (LangGraph, Python) -> searcher (A2A, LangGraph.js), each in two replicas.
${conversations.length} users watch their answers come. All of them press Stop.`)
  const plain = join(folder, 'without')
  const braked = join(folder, 'with')
  mkdirSync(plain)
  mkdirSync(braked)
  const without = await play(plain, [], hangUp)
  const brakewire = await startBrakewire(join(folder, 'up'))
  let withIt
  try {
    withIt = await play(braked, brakewire.agentds, cancelAt(brakewire.broker))
  } finally {
    await brakewire.stop()
  }
  const verdicts = judge(withIt)
  const passed = verdicts.every(([, held]) => held)
  if (flags.json) console.log(JSON.stringify({ without, with: withIt, failed: verdicts.filter(([, held]) => !held), passed }))
  print(without, withIt)
  for (const [what, held] of verdicts) say(`  ${held ? '✔' : '✘'} ${what}`)
  process.exitCode = passed ? 0 : 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
