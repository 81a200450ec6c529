// A remote agent of DawsOS for Node 18.17 and later, without dependencies.
//
// It scores headlines by a small word list: deterministic, so that it declares itself pure. The
// protocol is pkg/agent/openapi.yaml.
//
//   PORT            where to listen on loopback; 0, the default, takes any free port
//   HOST            the address to listen on; 127.0.0.1
//   AGENT_TOKEN     the bearer token that callers must send; empty lets everybody in
//   AGENT_NAME      the name it lists itself under; sentiment
//   AGENT_DELAY_MS  how long each call takes, to try out timeouts; 0
//
// Its output is JSON, one object a line: where it listens, then each call.

import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const token = process.env.AGENT_TOKEN ?? '';
const name = process.env.AGENT_NAME ?? 'sentiment';
const delay = Number(process.env.AGENT_DELAY_MS ?? 0);
const maxBody = 8 << 20; // bytes

// The words and the source under which a run's trace names them. Another list is another name.
const source = { name: 'wordlist:dawsos-example-1' };
const positive = new Set(['beat', 'beats', 'gain', 'gains', 'growth', 'profit', 'record', 'rise', 'rises', 'strong', 'upgrade', 'upgraded']);
const negative = new Set(['cut', 'cuts', 'default', 'downgrade', 'downgraded', 'fall', 'falls', 'loss', 'losses', 'miss', 'misses', 'warning', 'weak']);

/** A failure with a code of the protocol; anything else thrown is answered as internal. */
class Problem extends Error {
  constructor(status, code, detail, errors) {
    super(detail);
    Object.assign(this, { status, code, errors });
  }
}

const invalid = (pointer, detail) =>
  new Problem(422, 'invalid', `${pointer}: ${detail}`, [{ pointer: `/args${pointer}`, detail }]);

const capabilities = {
  'sentiment.score': {
    description: 'Sentiment of headlines from -1 to 1: in each, positive less negative words over both; the mean over those with such words.',
    args: {
      type: 'object',
      required: ['headlines'],
      additionalProperties: false,
      properties: {
        headlines: { type: 'array', minItems: 1, maxItems: 1000, items: { type: 'string', maxLength: 500 } },
      },
    },
    result: {
      type: 'object',
      required: ['score', 'scored', 'headlines'],
      properties: {
        score: { type: ['number', 'null'], minimum: -1, maximum: 1, description: 'null when no headline has a word of the list' },
        scored: { type: 'integer', minimum: 0, description: 'how many headlines have one' },
        headlines: {
          type: 'array',
          items: {
            type: 'object',
            required: ['text', 'score', 'positive', 'negative'],
            properties: {
              text: { type: 'string' },
              score: { type: ['number', 'null'] },
              positive: { type: 'array', items: { type: 'string' } },
              negative: { type: 'array', items: { type: 'string' } },
            },
          },
        },
      },
    },
    purity: 'pure',
    timeout_seconds: 5,
    cost: 'low',
    run({ headlines }) {
      if (!Array.isArray(headlines) || headlines.length === 0) {
        throw invalid('/headlines', 'must be an array with at least one headline');
      }
      const scored = headlines.map((text, i) => {
        if (typeof text !== 'string') throw invalid(`/headlines/${i}`, 'must be a string');
        return { text, ...score(text) };
      });
      const scores = scored.map((h) => h.score).filter((s) => s !== null);
      return {
        value: {
          score: scores.length > 0 ? scores.reduce((a, b) => a + b) / scores.length : null,
          scored: scores.length,
          headlines: scored,
        },
        sources: [source],
        warnings: scores.length > 0 ? [] : ['no headline has a word of the list: there is no score'],
      };
    },
  },
  'sentiment.words': {
    description: 'The word list that headlines are scored by.',
    args: { type: 'object', additionalProperties: false },
    purity: 'pure',
    run: () => ({ value: { positive: [...positive], negative: [...negative] }, sources: [source], warnings: [] }),
  },
};

/** Whole words only: "supply" is not "up". */
function score(text) {
  const words = text.toLowerCase().match(/\p{L}+/gu) ?? [];
  const found = { positive: words.filter((w) => positive.has(w)), negative: words.filter((w) => negative.has(w)) };
  const n = found.positive.length + found.negative.length;
  return { score: n > 0 ? (found.positive.length - found.negative.length) / n : null, ...found };
}

const listing = {
  protocol: '1',
  agent: { name, version: '1.0.0', description: 'Sentiment of headlines by a word list.' },
  capabilities: Object.entries(capabilities).map(([name, { run, ...declared }]) => ({ name, ...declared })),
};

const sha256 = (text) => createHash('sha256').update(text).digest();

/** Hashes are compared, in the same time for every token. */
function admitted(request) {
  if (token === '') return true;
  const [scheme, given = ''] = (request.headers.authorization ?? '').split(' ');
  return scheme.toLowerCase() === 'bearer' && timingSafeEqual(sha256(given), sha256(token));
}

async function read(request) {
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? '')) {
    throw new Problem(415, undefined, 'the body must be application/json');
  }
  const chunks = [];
  let size = 0;
  // What is too much is read and let go: a caller that is still sending would not see the answer.
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= maxBody) chunks.push(chunk);
  }
  if (size > maxBody) throw new Problem(413, 'invalid', `the call is larger than ${maxBody} bytes`);
  let call;
  try {
    call = JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    throw new Problem(400, undefined, 'the body is no call: it is not JSON');
  }
  const isObject = (v) => typeof v === 'object' && v !== null && !Array.isArray(v);
  if (!isObject(call) || typeof call.capability !== 'string' || !isObject(call.args) || !isObject(call.context)) {
    throw new Problem(400, undefined, 'the body is no call: capability, args and context are needed');
  }
  return call;
}

/** Runs a call. The signal fires when the caller has gone or its time is up. */
async function run(call, signal) {
  if (!Object.hasOwn(capabilities, call.capability)) {
    throw new Problem(404, 'unknown_capability', `this agent has no capability "${call.capability}"`);
  }
  if (delay > 0) await sleep(delay, undefined, { signal });
  // Null counts as left out.
  const args = Object.fromEntries(Object.entries(call.args).filter(([, value]) => value !== null));
  return capabilities[call.capability].run(args, call.context, signal);
}

let stopping = false;

function reply(response, status, type, body, headers = {}) {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    'content-type': type,
    'content-length': bytes.length,
    ...(stopping && { connection: 'close' }),
    ...headers,
  });
  response.end(bytes);
}

const log = (entry) => process.stdout.write(JSON.stringify(entry) + '\n');

const server = createServer(async (request, response) => {
  const entry = { request_id: request.headers['x-request-id'], traceparent: request.headers.traceparent };
  const gone = new AbortController();
  response.on('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  try {
    if (!admitted(request)) throw new Problem(401, undefined, 'the bearer token is missing or wrong');
    const route = `${request.method} ${request.url.split('?')[0]}`;
    if (route === 'GET /capabilities') {
      reply(response, 200, 'application/json', listing);
      return;
    }
    if (route !== 'POST /run') {
      response.writeHead(404).end();
      return;
    }
    const given = request.headers['x-timeout-ms'];
    if (given !== undefined && !/^[1-9][0-9]{0,8}$/.test(given)) {
      throw new Problem(400, undefined, `X-Timeout-Ms: "${given}" is not a number of milliseconds`);
    }
    const call = await read(request);
    entry.capability = call.capability;
    const timeUp = given === undefined ? [] : [AbortSignal.timeout(Number(given))];
    try {
      reply(response, 200, 'application/json', await run(call, AbortSignal.any([gone.signal, ...timeUp])));
    } catch (error) {
      if (timeUp.some((signal) => signal.aborted)) {
        throw new Problem(504, 'timeout', `${call.capability} did not finish in the time it had`);
      }
      throw error;
    }
    log({ ...entry, status: 200 });
  } catch (error) {
    if (gone.signal.aborted) {
      log({ ...entry, status: 'gone' });
      return;
    }
    const problem = error instanceof Problem ? error : new Problem(500, 'internal', "the call failed; the agent's log says why");
    const { status, code, message: detail, errors } = problem;
    const headers = status === 401 ? { 'www-authenticate': 'Bearer' } : {};
    reply(response, status, 'application/problem+json', { type: 'about:blank', status, code, detail, errors }, headers);
    log({ ...entry, status, code, error: problem === error ? undefined : String(error?.stack ?? error) });
  }
});

// Idle connections are kept longer than callers keep them, so that none is closed as a call comes.
server.keepAliveTimeout = 75_000;
server.listen(Number(process.env.PORT ?? 0), process.env.HOST ?? '127.0.0.1', () => {
  const { address, port } = server.address();
  log({ listening: `http://${address.includes(':') ? `[${address}]` : address}:${port}` });
});

// Calls under way are finished; idle connections are closed, and the process ends with the last.
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    stopping = true;
    server.close();
    server.closeIdleConnections();
  });
}
