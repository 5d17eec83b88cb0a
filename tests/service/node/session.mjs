// A session of a customer with openai-node: session.mjs GIVEN.json, as tests/service/test_node_sdk.py writes it.

import assert from "node:assert/strict";
import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const given = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const settings = { baseURL: given.url, apiKey: given.key, maxRetries: 0, timeout: 30_000 };
// It asks for permissions of checkpoints with this key alone.
const client = new OpenAI({ ...settings, adminAPIKey: given.key });
const all = async (pages) => {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
};
const refused = async (promise, kind, wanted) => {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof kind, `${error}`);
    for (const [name, value] of Object.entries(wanted)) assert.equal(error[name], value, `${name} of ${error}`);
    assert.ok(error.requestID && error.type && error.code, JSON.stringify(error.error));
    return true;
  });
};

async function files() {
  const made = await client.files.create({
    file: fs.createReadStream(given.rows),
    purpose: "fine-tune",
    expires_after: { anchor: "created_at", seconds: 86400 },
  });
  const done = await client.files.waitForProcessing(made.id, { pollInterval: 200, maxWait: 60_000 });
  assert.equal(done.status, "processed");
  assert.equal(done.expires_at, made.created_at + 86400);
  const content = await (await client.files.content(made.id)).text();
  assert.equal(content, fs.readFileSync(given.rows, "utf8"));
  const other = await client.files.create({ file: await toFile(Buffer.from(content), "o.jsonl"), purpose: "fine-tune" });
  const listed = await all(client.files.list({ limit: 1, purpose: "fine-tune" }));
  assert.deepEqual(listed.map((file) => file.id), [other.id, made.id]);
  assert.ok((await client.files.delete(other.id)).deleted);
  await refused(client.files.retrieve(other.id), OpenAI.NotFoundError, { status: 404 });
  return made.id;
}

async function uploads() {
  const content = fs.readFileSync(given.rows);
  const upload = await client.uploads.create({
    bytes: content.length, filename: "u.jsonl", mime_type: "text/jsonl", purpose: "fine-tune",
  });
  const half = content.length >> 1;
  const parts = [];
  for (const piece of [content.subarray(0, half), content.subarray(half)]) {
    parts.push(await client.uploads.parts.create(upload.id, { data: await toFile(piece, "part") }));
  }
  const done = await client.uploads.complete(upload.id, { part_ids: parts.map((part) => part.id) });
  assert.equal(done.status, "completed");
  assert.equal(done.file.bytes, content.length);
  const open = await client.uploads.create({ bytes: 3, filename: "c", mime_type: "text/jsonl", purpose: "fine-tune" });
  assert.equal((await client.uploads.cancel(open.id)).status, "cancelled");
}

async function jobs(file) {
  const made = [];
  for (const run of ["a", "b", "c"]) {
    made.push(
      await client.fineTuning.jobs.create({
        model: "tiny", training_file: file, suffix: "mine", seed: 3, metadata: { run },
        method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2 } } },
      }),
    );
  }
  const ids = made.map((job) => job.id);
  assert.deepEqual((await all(client.fineTuning.jobs.list({ limit: 2 }))).map((job) => job.id).slice(0, 3), ids.toReversed());
  const filtered = await all(client.fineTuning.jobs.list({ metadata: { run: "b" } }));
  assert.deepEqual(filtered.map((job) => job.id), [ids[1]]);
  assert.equal((await client.fineTuning.jobs.retrieve(ids[0])).method.supervised.hyperparameters.n_epochs, 2);
  assert.equal((await client.fineTuning.jobs.pause(ids[0])).metadata.reft_stage, "paused");
  assert.equal((await client.fineTuning.jobs.resume(ids[0])).status, "queued");
  for (const id of ids) assert.equal((await client.fineTuning.jobs.cancel(id)).status, "cancelled");
  const events = await all(client.fineTuning.jobs.listEvents(ids[0], { limit: 2 }));
  assert.ok(events.length > 5);
  assert.equal(new Set(events.map((event) => event.id)).size, events.length);
  assert.equal(events.at(-1).message, `Created fine-tuning job: ${ids[0]}`);
  await refused(client.fineTuning.jobs.cancel(ids[0]), OpenAI.BadRequestError, { code: "job_already_finished" });
  await refused(client.fineTuning.jobs.create({ model: "gpt-9", training_file: file }), OpenAI.BadRequestError, { param: "model" });
  await refused(
    client.fineTuning.jobs.create({ model: "tiny", training_file: file, method: { type: "dpo", dpo: {} } }),
    OpenAI.BadRequestError, { param: "method.type" },
  );
  await refused(client.fineTuning.jobs.retrieve("ftjob-none"), OpenAI.NotFoundError, { status: 404 });
}

async function checkpoints() {
  const found = await all(client.fineTuning.jobs.checkpoints.list(given.job, { limit: 1 }));
  assert.deepEqual(found.map((one) => one.step_number), [20, 10]);
  assert.equal(found[0].metrics.train_loss, 1.5);
  const name = found[0].fine_tuned_model_checkpoint;
  const permissions = client.fineTuning.checkpoints.permissions;
  const made = await all(permissions.create(name, { project_ids: ["guest", "proj_1"] }));
  assert.deepEqual(made.map((one) => one.project_id), ["guest", "proj_1"]);
  const listed = await all(permissions.list(name, { limit: 1, order: "ascending" }));
  assert.deepEqual(listed.map((one) => one.project_id), ["guest", "proj_1"]);
  assert.ok((await permissions.delete(made[0].id, { fine_tuned_model_checkpoint: name })).deleted);
}

async function chat(model) {
  const asked = { model, messages: [{ role: "user", content: "Where is my card?" }], max_completion_tokens: 12, seed: 7 };
  const plain = await client.chat.completions.create(asked);
  assert.equal(plain.model, model);
  assert.ok(plain.usage.completion_tokens > 0);
  let said = "", usage = null;
  const stream = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    said += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(said, plain.choices[0].message.content);
  assert.equal(usage.completion_tokens, plain.usage.completion_tokens);
  const helped = client.chat.completions.stream(asked); // the SDK's own gathering of chunks
  assert.equal((await helped.finalChatCompletion()).choices[0].message.content, said);
  assert.equal((await client.models.retrieve(model)).id, model);
  await refused(client.chat.completions.create({ ...asked, temperature: 9 }), OpenAI.BadRequestError, { param: "temperature" });
}

async function others() {
  const models = (await all(client.models.list())).map((model) => model.id);
  assert.ok(models.includes("tiny") && models.includes(given.model));
  await refused(client.chat.completions.create({ model: "ft:none", messages: [] }), OpenAI.APIError, {});
  const { results } = await client.moderations.create({ input: given.texts });
  assert.deepEqual(results.map((result) => result.flagged), [true, false]);
  const event = await client.webhooks.unwrap(given.webhook.body, given.webhook.headers, given.webhook.secret);
  assert.equal(event.type, "fine_tuning.job.succeeded");
  await assert.rejects(client.webhooks.unwrap(`${given.webhook.body} `, given.webhook.headers, given.webhook.secret));
  const stranger = new OpenAI({ ...settings, apiKey: "sk-none" });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
}

const file = await files();
await uploads();
await jobs(file);
await checkpoints();
await chat("tiny");
await chat(given.model);
await others();
console.log("done");
