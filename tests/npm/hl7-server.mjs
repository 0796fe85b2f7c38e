// node-hl7-server on loopback: prints its port, then the control ID (MSH-10) and patient (PID-3) of each message.
// Answers AE where the patient is REFUSED, else AA.
import { createServer } from 'node:net'
import { Server } from 'node-hl7-server'

process.stdin.on('end', () => process.exit()).resume() // with whoever started it

const probe = createServer().listen(0, '127.0.0.1', () => {
  const { port } = probe.address()
  probe.close(() => {
    const inbound = new Server({ bindAddress: '127.0.0.1' }).createInbound({ port }, async (req, res) => {
      const message = req.getMessage()
      const patient = message.get('PID.3.1').toString()
      console.log(`${message.get('MSH.10')} ${patient}`)
      await res.sendResponse(patient === 'REFUSED' ? 'AE' : 'AA')
    })
    inbound.on('listen', () => console.log(port))
  })
})
