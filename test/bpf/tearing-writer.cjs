// Owns the writer of tearing.spec.ts: rewrites pods, addresses and tables without pause, as the daemon does, until told
// to stop. Plain JavaScript, because a worker thread runs it as it is. Must not know a verdict.

const { workerData, parentPort } = require("node:worker_threads");

const { addon, directory, stop, admitting, refusing, friend, stranger, mix, tableValue, rowValue } =
  workerData;
const native = require(addon);
const stopped = new Int32Array(stop);
const open = (name) => native.openPinnedMap(`${directory}/${name}`);
const [pods, addresses, tables, rows] = ["pods", "addresses", "authz_tables", "authz_identity"].map(open);

/** Identities that the tables admit, and others: each address alternates between its two. */
const FRIENDS = [11, 13];
const STRANGERS = [12, 14];
/** Times that everything is rewritten between two sets of tables, and entries of one call into the kernel. */
const ROUNDS = 1000;
const BATCH = 128;

const number = (...values) => {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, 4 * index);
  return bytes;
};
const words = (tag, ...values) =>
  number(...values.flatMap((value) => [value, (tag + Math.imul(value, mix)) >>> 0]));
const cookieKey = (cookie) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(cookie);
  return bytes;
};
const put = (map, entries) => {
  const { done, error } = map.updateBatch(
    Buffer.concat(entries.map(([key]) => key)),
    Buffer.concat(entries.map(([, value]) => value)),
    entries.length,
  );
  if (error !== undefined) throw error;
  return done;
};

let writes = 0;
function rewrite(table, round) {
  const guarded = [
    [cookieKey(admitting.cookie), words(admitting.tag, table, 2, 0, 0, 0)],
    [cookieKey(refusing.cookie), words(refusing.tag, table + 1, 3, 0, 0, 0)],
  ];
  const owned = [
    [Buffer.from(friend.key), words(friend.tag, 1, FRIENDS[round % 2], 0, 0)],
    [Buffer.from(stranger.key), words(stranger.tag, 2, STRANGERS[round % 2], 0, 0)],
  ];
  // Turn by turn: the element that one entry frees is the one that the next takes.
  const turns = (entries) => Array.from({ length: BATCH }, (_, turn) => entries[turn % entries.length]);
  writes += put(pods, turns(guarded)) + put(addresses, turns(owned));
}

function putTables(table) {
  put(
    rows,
    FRIENDS.map((identity) => [number(table, identity), Buffer.from(rowValue)]),
  );
  put(
    tables,
    [table, table + 1].map((each) => [number(each), Buffer.from(tableValue)]),
  );
}

function deleteTables(table) {
  for (const each of [table, table + 1]) tables.delete(number(each));
  for (const identity of FRIENDS) rows.delete(number(table, identity));
}

async function write() {
  let table = 100;
  putTables(table);
  rewrite(table, 0);
  parentPort.postMessage("ready");
  while (Atomics.load(stopped, 0) === 0) {
    putTables(table + 2);
    table += 2;
    for (let round = 0; round < ROUNDS; round++) rewrite(table, round);
    await native.waitForReaders();
    deleteTables(table - 2);
  }
  parentPort.postMessage(writes);
}

void write();
