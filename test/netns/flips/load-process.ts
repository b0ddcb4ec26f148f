/**
 * The process that sends and receives all packets of the test, from sockets inside the pods' namespaces. One process, one
 * clock and one CPU: what it sends goes through the kernel in the order in which it is sent. It sends by the round: a few
 * packets of every flow, those last that every policy allows. When the last of these has arrived, all of the round has had
 * its verdict.
 */
import { parseAddress } from '../../../agent/model/address.ts';
import { DatagramBatch, type DatagramPeer } from '../../../agent/kernel/datagram-batch.ts';
import { Netns } from '../../../agent/kernel/netns.ts';
import { openSocket } from '../../../agent/kernel/socket.ts';
import { EACH, type LoadCommand, type LoadReport, type LoadSetup, type LoadWire } from './load-protocol.ts';

/** Rounds that are sent in one go when the process was held up: buffers are for more. */
const CATCH_UP = 8;
const BUFFER_BYTES = 16 << 20;
const MESSAGE_BYTES = 8;
const ALL = (1 << EACH) - 1;

interface Sender {
  readonly fd: number;
  readonly to: DatagramPeer;
}

const now = (): number => Number(process.hrtime.bigint());

class Load {
  readonly #setup: LoadSetup;
  readonly #senders: readonly Sender[];
  readonly #receivers: readonly number[];
  readonly #outgoing = new DatagramBatch(EACH, MESSAGE_BYTES);
  readonly #incoming = new DatagramBatch(256, MESSAGE_BYTES);
  readonly #always: readonly number[];
  /** By round: when its first packet was about to be sent, and its last had been read; nanoseconds, 0 for never. */
  readonly #started: Float64Array;
  readonly #ended: Float64Array;
  /** By round and flow: a bit for each packet that arrived. */
  readonly #arrived: Uint8Array;
  readonly #awaited: { readonly from: number; readonly seq: number }[] = [];
  #rounds = 0;
  /** All rounds before it have ended. */
  #open = 0;
  #repeated = 0;
  #unsent = 0;
  readonly #since = now();
  #stopped = false;

  constructor(setup: LoadSetup) {
    this.#setup = setup;
    this.#senders = setup.wires.map(openSender);
    this.#receivers = receiversOf(setup);
    this.#always = setup.wires.flatMap(({ always }, i) => (always ? [i] : []));
    this.#started = new Float64Array(setup.maxRounds);
    this.#ended = new Float64Array(setup.maxRounds);
    this.#arrived = new Uint8Array(setup.maxRounds * setup.wires.length);
  }

  /** Sends what is due, reads what has come, and comes again. */
  turn(): void {
    if (this.#stopped) return;
    if (this.#rounds === this.#setup.maxRounds) throw new Error(`nobody ended the load in ${this.#rounds} rounds`);
    const due = Math.floor((now() - this.#since) / this.#setup.roundNs);
    const limit = Math.min(due, this.#setup.maxRounds, this.#rounds + CATCH_UP);
    while (this.#rounds < limit) {
      this.#send();
      this.#receive();
    }
    this.#receive();
    setTimeout(() => this.turn(), 1);
  }

  /** Answers when a round that begins from now on has arrived. */
  awaitRound(seq: number): void {
    this.#awaited.push({ from: now(), seq });
  }

  /** Ends the sending; what is under way has arrived when the packets that are always allowed have, or never will. */
  stop(): LoadReport {
    this.#stopped = true;
    const patience = now() + 2e9;
    while (this.#open < this.#rounds && now() < patience) this.#receive();
    return {
      rounds: this.#rounds,
      started: [...this.#started.subarray(0, this.#rounds)],
      ended: [...this.#ended.subarray(0, this.#rounds)],
      arrived: Buffer.from(this.#arrived.subarray(0, this.#rounds * this.#senders.length)).toString('base64'),
      repeated: this.#repeated,
      unsent: this.#unsent,
    };
  }

  #send(): void {
    const round = this.#rounds++;
    const message = Buffer.alloc(MESSAGE_BYTES);
    message.writeUInt32LE(round);
    this.#started[round] = now();
    for (const [flow, { fd, to }] of this.#senders.entries()) {
      for (let i = 0; i < EACH; i++) {
        message[4] = flow;
        message[5] = i;
        this.#outgoing.add(message, to);
      }
      this.#unsent += this.#outgoing.send(fd);
    }
  }

  #receive(): void {
    for (const fd of this.#receivers) {
      while (this.#incoming.receive(fd) > 0) for (let i = 0; i < this.#incoming.count; i++) this.#take(i);
    }
    const at = now();
    // A round that lost a packet does not hold up those after it.
    for (let round = this.#open; round < this.#rounds; round++) {
      if (this.#ended[round] !== 0 || !this.#isWhole(round)) continue;
      this.#ended[round] = at;
      this.#answer(round);
    }
    while (this.#open < this.#rounds && (this.#ended[this.#open] !== 0 || this.#rounds - this.#open > 1000))
      this.#open++;
  }

  #take(i: number): void {
    const { bytes } = this.#incoming;
    const at = this.#incoming.start(i);
    const slot = bytes.readUInt32LE(at) * this.#senders.length + bytes[at + 4]!;
    const bit = 1 << bytes[at + 5]!;
    if ((this.#arrived[slot]! & bit) !== 0) this.#repeated++;
    this.#arrived[slot]! |= bit;
  }

  #isWhole(round: number): boolean {
    return this.#always.every((flow) => this.#arrived[round * this.#senders.length + flow] === ALL);
  }

  #answer(round: number): void {
    while (this.#awaited.length > 0 && this.#awaited[0]!.from <= this.#started[round]!) {
      process.send!({ seq: this.#awaited.shift()!.seq });
    }
  }
}

function openSender({ netns, from, to, port }: LoadWire): Sender {
  using pod = Netns.open(netns);
  const bind = { address: parseAddress(from), port: 0 };
  const fd = openSocket({ protocol: 'udp', bind, sendBuffer: BUFFER_BYTES }, pod);
  return { fd, to: { address: parseAddress(to), port } };
}

/** One socket for each address and port that is sent to. */
function receiversOf({ wires, server }: LoadSetup): number[] {
  using pod = Netns.open(server);
  const targets = new Map(wires.map(({ to, port }) => [`${to} ${port}`, { address: parseAddress(to), port }]));
  return [...targets.values()].map((bind) => openSocket({ protocol: 'udp', bind, receiveBuffer: BUFFER_BYTES }, pod));
}

let load: Load | undefined;
process.on('message', (message) => {
  const { seq, command } = message as { seq: number; command: LoadCommand };
  switch (command.op) {
    case 'start':
      load = new Load(command.setup);
      load.turn();
      process.send!({ seq });
      break;
    case 'round':
      load!.awaitRound(seq);
      break;
    case 'stop':
      process.send!({ seq, report: load!.stop() });
      break;
  }
});
process.on('disconnect', () => process.exit(0));
