// One service of a chain, in a process of its own: `first` and `last` are agents with runs, `middle`
// knows nothing of Brakewire. Each calls what is behind it (NEXT), by fetch or by node:http (BY), as
// any program does.
import http from 'node:http'

const { ROLE: role, NEXT: next, BY: by } = process.env
process.once('disconnect', () => process.exit(0)) // its test has gone

const over = {
  fetch: async (headers) => (await fetch(next, { headers })).text(),
  http: (headers) => new Promise((good, bad) => {
    http.get(next, { headers }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      good(text)
    }).on('error', bad)
  }),
}

const roles = {
  async middle() {
    return over[by]({ 'x-hop': 'middle' })
  },
}

if (role !== 'middle') {
  const { withRun, start } = await import('brakewire')
  roles.first = (request) =>
    withRun({ agent: 'first', headers: request.headers }, async (run) => {
      process.send({ first: run.path })
      return over[by]({}) // no headers of ours: OpenTelemetry sends what names this run
    })
  roles.last = async (request) => {
    const given = request.url === '/bare' ? {} : { headers: request.headers }
    const run = await start({ agent: 'last', ...given })
    run.on('cancel', (reason) => {
      process.send({ told: reason.reason })
      run.end('cancelled')
    })
    const { baggage, traceparent } = request.headers
    return JSON.stringify({ path: run.path, on: run.baggage, baggage, traceparent })
  }
}

const server = http.createServer(async (request, response) => {
  try {
    response.end(await roles[role](request))
  } catch (error) {
    response.writeHead(500).end(String(error))
  }
})
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }))
