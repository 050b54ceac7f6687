// The peer of TokenizerBench: Hugging Face's JavaScript tokenizers over the same megabytes. From the repository's root:
//   node bench/KvCuda.Bench/Text/peer.mjs llama3 prose letter spaces random
import fs from 'node:fs';
import { createRequire } from 'node:module';
const { Tokenizer } = createRequire(process.cwd() + '/.tools/text/')('@huggingface/tokenizers');
const [, , model, ...kinds] = process.argv;
const folder = `.tools/tokenizers/${model}`, length = 1 << 20;

function megabyte(kind) {
    if (kind === 'letter' || kind === 'spaces') return (kind === 'letter' ? 'a' : ' ').repeat(length);
    let state = 1;
    const random = n => { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; return Number(BigInt(state) * BigInt(n) >> 32n); };
    const words = ("the of and to in that is was he for it with as his on be at by this had not are but from or have they " +
        "which one you were all she there would their we him been has when who will more language attention tokenizer " +
        "because experience understanding Über naïve Straße привет мир 中文 文字 don't we're 1984 3.14").split(' ');
    const parts = [];
    for (let n = 0; n < length;) {
        let part;
        if (kind === 'random') part = String.fromCharCode(97 + random(26));
        else {
            part = words[random(random(words.length) + 1)];
            const mark = random(12);
            part += mark === 0 ? ", " : mark === 1 ? ".\n" : mark === 2 ? (random(8) === 0 ? "\n\n" : ". ") : " ";
        }
        parts.push(part);
        n += part.length;
    }
    return parts.join('').slice(0, length);
}

let start = performance.now();
const tokenizer = new Tokenizer(JSON.parse(fs.readFileSync(`${folder}/tokenizer.json`, 'utf8')),
    JSON.parse(fs.readFileSync(`${folder}/tokenizer_config.json`, 'utf8')));
console.log(`${model} load ${(performance.now() - start).toFixed(0)} ms`);
for (const kind of kinds) {
    const text = megabyte(kind);
    let best = Infinity, count = 0;
    for (let i = 0; i < 3; i++) {
        start = performance.now();
        count = tokenizer.encode(text).ids.length;
        best = Math.min(best, performance.now() - start);
        if (best > 20000) break;
    }
    console.log(`${model} ${kind}: ${count} ids, ${best.toFixed(0)} ms`);
}
