// One replica: the JavaScript LangGraph server in memory, in a process of its own. Prints its URL.
import { startServer } from '@langchain/langgraph-api/server'
import { join } from 'node:path'

process.once('disconnect', () => process.exit(0)) // its test has gone
const { host } = await startServer({
  port: 0, host: '127.0.0.1', nWorkers: 4, cwd: process.env.FOLDER,
  graphs: { agent: `${join(import.meta.dirname, process.env.GRAPH ?? 'langgraph_graph.mjs')}:graph` },
})
globalThis.ownUrl = `http://${host}`
process.send({ url: globalThis.ownUrl })
