// Runs llama.cpp (npm's node-llama-cpp, on the CPU, one thread, keys and values in F32) over the models of make_models.py and
// writes NAME/llama_cpp.json: the logits behind each of 64 given tokens, then 64 greedy ids behind the first 9 of them with
// the smallest lead that a first choice had. Encoders it holds against NumPy itself.
// usage: llama_cpp.mjs MODELS NODE_MODULES [NAME ...]
import fs from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [, , models, modules, ...only] = process.argv;
const entry = path.resolve(modules, "node-llama-cpp/dist/index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry).href);
const llama = await getLlama({gpu: false, build: "never", maxThreads: 1, logLevel: LlamaLogLevel.error, progressLogs: false});
const count = 64;
const encoderTolerance = 2e-3;  // its table of GELU

// The logits behind each of `tokens`, by token id.
async function evaluate(sequence, tokens) {
  const options = {generateNext: {logits: true, options: {temperature: 0}}};
  const result = await sequence.controlledEvaluate(tokens.map(token => [token, options]));
  return result.map(({next}) => {
    const row = [];
    for (const [token, logit] of next.logits) row[token] = logit;
    return row;
  });
}

async function greedy(sequence, prompt, steps) {
  const ids = [];
  let lead = Infinity, tokens = prompt;
  for (let step = 0; step < steps; ++step) {
    const row = (await evaluate(sequence, tokens)).at(-1), best = Math.max(...row), id = row.indexOf(best);
    lead = Math.min(lead, best - Math.max(...row.filter((_, i) => i !== id)));
    ids.push(id);
    tokens = [id];
  }
  return {ids, lead};
}

async function run(folder, golden) {
  const model = await llama.loadModel({modelPath: path.join(folder, "model.gguf"), gpuLayers: 0});
  const context = await model.createContext({contextSize: golden.context, batchSize: count, threads: 1, flashAttention: false,
    swaFullCache: true, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"});
  const sequence = context.getSequence();
  const tokens = [...golden.prompts.at(-1), ...golden.prompts.at(-1)].slice(0, Math.min(count, golden.context - 1));
  const logits = await evaluate(sequence, tokens);
  await sequence.clearHistory();
  const own = await greedy(sequence, tokens.slice(0, 9), Math.min(count, golden.context - 9));
  await context.dispose();
  await model.dispose();
  return {tokens, logits, greedy: own};
}

// The largest difference of an encoder's vectors, of length 1, from those of NumPy, which Nacelle is held to.
async function compareVectors(folder, golden) {
  const model = await llama.loadModel({modelPath: path.join(folder, "model.gguf"), gpuLayers: 0});
  const context = await model.createEmbeddingContext({contextSize: golden.context, batchSize: golden.context, threads: 1});
  const unit = vector => { const length = Math.hypot(...vector); return vector.map(x => x / length); };
  let worst = 0;
  for (const [i, prompt] of golden.prompts.entries()) {
    const theirs = unit([...(await context.getEmbeddingFor(prompt)).vector]), ours = unit(golden.vectors[i]);
    worst = Math.max(worst, ...ours.map((x, j) => Math.abs(x - theirs[j])));
  }
  await context.dispose();
  await model.dispose();
  return worst;
}

let failed = false;
for (const name of only.length ? only : fs.readdirSync(models).sort()) {
  const folder = path.join(models, name), golden = JSON.parse(fs.readFileSync(path.join(folder, "golden.json")));
  if (golden.encoder === "embed" && fs.existsSync(path.join(folder, "model.gguf"))) {
    const worst = await compareVectors(folder, golden);
    failed ||= !(worst < encoderTolerance);
    console.log(`${name}: vectors ${worst.toExponential(1)}${worst < encoderTolerance ? "" : ", FAILED"}`);
    continue;
  }
  if (!golden.llama_cpp || !fs.existsSync(path.join(folder, "model.gguf"))) continue;
  try {
    fs.writeFileSync(path.join(folder, "llama_cpp.json"), JSON.stringify(await run(folder, golden)));
  } catch (error) {
    console.log(`${name}: ${error.message}`);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);
