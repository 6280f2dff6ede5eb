// node-postgres. tests/support/drivers.py asks; driver.py describes the requests.
import readline from "node:readline";
import pg from "pg";

const ROUNDS = 6;
const opened = {};

async function connect(uri) {
  // docs: node-postgres
  const client = new pg.Client({ connectionString: uri });
  client.on("error", () => {}); // without a listener, a broken connection ends the process
  await client.connect();
  // docs: end
  return client;
}

async function add(client, number) {
  // A name makes the statement a prepared one.
  const query = { name: "add", text: "SELECT $1::int + 1 AS sum", values: [number] };
  const { rows } = await client.query(query);
  if (rows[0].sum !== number + 1) throw new Error(`asked for ${number} + 1, got ${rows[0].sum}`);
}

async function check(uri) {
  const pair = [await connect(uri), await connect(uri)];
  try {
    for (let number = 0; number < ROUNDS; number++) {
      for (const client of pair) await add(client, number);
    }
    const { rows } = await pair[0].query("SELECT current_user AS name, pg_is_in_recovery() AS recovers");
    return `${rows[0].name} ${rows[0].recovers}`;
  } finally {
    for (const client of pair) await client.end();
  }
}

async function use(kept) {
  try {
    await add(kept.client, 1);
  } catch (error) {
    kept.client.end().catch(() => {});
    kept.client = await connect(kept.uri);
    await add(kept.client, 1);
    return `opened again after: ${error.message}`;
  }
  return "same connection";
}

async function answer(verb, words) {
  if (verb === "check") return check(words[1]);
  if (verb === "open") {
    const [name, , uri] = words;
    opened[name] = { uri, client: await connect(uri) };
    await add(opened[name].client, 1);
    return "opened";
  }
  if (verb === "close") {
    try {
      return await use(opened[words[0]]);
    } finally {
      await opened[words[0]].client.end();
    }
  }
  throw new Error(verb);
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [verb, ...words] = line.split("\t");
  try {
    console.log(`ok\t${await answer(verb, words)}`);
  } catch (error) {
    console.log(`error\t${error.code ?? ""} ${error.message}`.replaceAll("\n", " "));
  }
}
process.exit(0);
