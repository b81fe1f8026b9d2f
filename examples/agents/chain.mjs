// Starts the chain (each agent in two replicas), talks to it as a user does, and reads from the
// ledger and the checkpoint files, from outside, what became of it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import Database from 'better-sqlite3'

const REPLICAS = 2
export const LEVELS = ['supervisor', 'researcher', 'searcher']
const here = import.meta.dirname
const programs = {
  supervisor: [process.execPath, join(here, 'supervisor.mjs')],
  researcher: [process.env.BW_PYTHON ?? 'python3', join(here, 'researcher.py')],
  searcher: [process.execPath, join(here, 'searcher.mjs')],
}

async function startAgent(level, replica, environment) {
  const [program, ...args] = programs[level]
  const agent = spawn(program, args, {
    stdio: ['ignore', 'pipe', openSync(environment.LOG, 'a')],
    env: { ...process.env, REPLICA: replica, ...environment },
  })
  const ended = once(agent, 'exit')
  const line = await Promise.race([
    once(createInterface({ input: agent.stdout }), 'line').then(([first]) => first),
    ended.then(() => { throw new Error(`${level} did not start`) }),
  ])
  return { agent, ended, url: JSON.parse(line).url }
}

/** agentds: one for each replica, so six; none: the chain as it is without Brakewire. */
export async function startChain(folder, agentds = []) {
  const ledger = join(folder, 'ledger')
  const checkpoints = []
  const agents = []
  const urls = {}
  // The deepest first: who calls must know whom.
  for (const level of LEVELS.toReversed()) {
    urls[level] = []
    for (let i = 0; i < REPLICAS; i++) {
      const file = join(folder, `${level}-${i}.sqlite`)
      checkpoints.push(file)
      const started = await startAgent(level, `${level}-${i}`, {
        LEDGER: ledger,
        LOG: join(folder, 'log'),
        CHECKPOINTS: file,
        SEARCHERS: urls.searcher.join(),
        RESEARCHERS: (urls.researcher ?? []).join(),
        BRAKEWIRE_AGENTD: agentds[agents.length] ?? join(folder, 'nobody-is-here'),
      })
      agents.push(started)
      urls[level].push(started.url)
    }
  }
  return {
    supervisors: urls.supervisor,
    // Behind the last newline is what somebody is writing just now.
    work: () => readFileSync(ledger, 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line)),
    writes: () => checkpoints.flatMap(checkpointTimes),
    async stop() {
      for (const { agent } of agents) agent.kill('SIGKILL')
      await Promise.all(agents.map(({ ended }) => ended))
    },
  }
}

/** When each checkpoint in the file was made, ms: what LangGraph wrote into it itself. */
function checkpointTimes(file) {
  if (!existsSync(file)) return [] // nobody has come to this replica
  const database = new Database(file, { readonly: true })
  try {
    const table = database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'").get()
    if (table === undefined) return []
    const rows = database.prepare('SELECT checkpoint FROM checkpoints').all()
    return rows.map((row) => timeOf(row.checkpoint))
  } finally {
    database.close()
  }
}

// JSON from LangGraph.js, msgpack from LangGraph of Python; the time is ISO 8601 in both.
function timeOf(checkpoint) {
  const found = Buffer.from(checkpoint).toString('latin1').match(/ts.{1,3}(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00))/s)
  return Date.parse(found[1])
}

/** A user's page: asks the supervisor, shows the stream, and can stop. */
export async function ask(supervisor, conversation) {
  const hangUp = new AbortController()
  const answer = await fetch(`${supervisor}/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ conversation }),
    signal: hangUp.signal,
  })
  const page = { events: [], runId: answer.headers.get('brakewire-run'), hangUp: () => hangUp.abort() }
  page.ended = readEvents(answer.body, page.events).catch(() => {})
  return page
}

async function readEvents(body, events) {
  let text = ''
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk
    const blocks = text.split('\n\n')
    text = blocks.pop()
    for (const block of blocks) {
      const [, event, data] = block.match(/^event: (.*)\ndata: (.*)$/)
      events.push({ event, data: JSON.parse(data), at: performance.timeOrigin + performance.now() })
    }
  }
}
