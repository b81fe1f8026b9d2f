// What each agent really did, seen from outside: one line per piece of work, in the file $LEDGER.
import { appendFileSync } from 'node:fs'

/** A moment ago this agent, on this replica, did `what` for the conversation. */
export function record(level, conversation, what) {
  const at = performance.timeOrigin + performance.now()
  const line = { at, level, replica: process.env.REPLICA, conversation, what }
  appendFileSync(process.env.LEDGER, JSON.stringify(line) + '\n')
}

/** Does the agent's work, and notes how it ended. */
export async function noted(level, conversation, work) {
  try {
    await work()
    record(level, conversation, 'finished')
  } catch (error) {
    record(level, conversation, 'stopped')
    throw error
  }
}

/** One step of an agent: 50 ms of somebody else's time (a model, a tool), given up on abort. */
export function step(signal) {
  return new Promise((good, bad) => {
    const stop = () => { clearTimeout(timer); bad(signal.reason) }
    const timer = setTimeout(() => { signal?.removeEventListener('abort', stop); good() }, 50)
    if (signal?.aborted) stop()
    else signal?.addEventListener('abort', stop, { once: true })
  })
}

/** Balances as a Kubernetes Service does: any replica will do. */
export function anyOf(list) {
  const urls = list.split(',')
  return urls[Math.floor(Math.random() * urls.length)]
}
