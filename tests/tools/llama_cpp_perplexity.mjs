// llama.cpp's perplexity of a GGUF file, for comparison with `inferno perplexity`: the same windows, of which the second
// half counts, with the probability that llama.cpp gives each next token.
//
//   npm install --ignore-scripts node-llama-cpp@3.22.1
//   node llama_cpp_perplexity.mjs MODEL.gguf TEXT WINDOW
import {getLlama} from "node-llama-cpp";
import fs from "fs";
const [modelPath, file, windowArg] = process.argv.slice(2);
const window = +windowArg;
const llama = await getLlama({gpu: false, build: "never", maxThreads: 2});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({contextSize: window, batchSize: window, threads: 2, flashAttention: false});
const seq = context.getSequence();
const tokens = model.tokenize(fs.readFileSync(file, "utf8"));
console.log("tokens", tokens.length, tokens.slice(0, 8).join(","));
let sum = 0, count = 0;
for (let w = 0; w + window <= tokens.length; w += window) {
  const ids = tokens.slice(w, w + window), first = window / 2;
  await seq.clearHistory();
  await seq.controlledEvaluate(ids.slice(0, first));
  for (let i = first; i < window - 1; i += 16) {
    const part = ids.slice(i, Math.min(i + 16, window - 1));
    const res = await seq.controlledEvaluate(part.map(t => [t, {generateNext: {probabilities: true, options: {temperature: 1, topK: 0, topP: 1, minP: 0}}}]));
    part.forEach((_, k) => { const p = res[k].next.probabilities.get(ids[i + k + 1]); sum -= Math.log(p); count++; });
  }
  console.log("window", w / window + 1, "ppl", Math.exp(sum / count));
}
console.log("nats/token", sum / count, "count", count);
