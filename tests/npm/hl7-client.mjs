// node-hl7-client: sends each line of standard input, CR written as \r, to the port that it is told, over one connection;
// prints the acknowledgement code and control ID (MSA-1, MSA-2) of each answer.
import { createInterface } from 'node:readline'
import { Client, Message } from 'node-hl7-client'

const port = Number(process.argv[2])
const lines = []
for await (const line of createInterface({ input: process.stdin })) lines.push(line.replaceAll('\\r', '\r'))
const client = new Client({ host: '127.0.0.1' })
let answered = () => {}
const outbound = client.createConnection({ port }, async (res) => {
  const answer = res.getMessage()
  console.log(`${answer.get('MSA.1').toString()} ${answer.get('MSA.2').toString()}`)
  answered()
})
for (const text of lines) {
  const answer = new Promise((resolve) => { answered = resolve })
  await outbound.sendMessage(new Message({ text }))
  await answer
}
await outbound.close()
process.exit(0)
