// Makes the tokenizer goldens with the reference library (Hugging Face's Rust tokenizers, through its Node binding).
//
//   node make-tokenizer-goldens.cjs small FULL_DIR OUT_DIR     trims the vocabularies, then writes families and expectations
//   node make-tokenizer-goldens.cjs full  FULL_DIR             thousands of strings over each full tokenizer.json
//
// FULL_DIR has a folder per model with its tokenizer.json, as tests/fetch-tokenizers.sh lays them out.
const fs = require('fs'), path = require('path');
const { Tokenizer } = require('@anush008/tokenizers');
const [, , mode, fullDir, outDir] = process.argv;

// ---- strings: prose, code, scripts, emoji, control characters, white space, text that spells special tokens
let state = 1;
const random = n => { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; return Math.floor(state / 4294967296 * n); };
const pick = list => list[random(list.length)];
const words = ("the of and to in that is was he for it with as his on be at by this had not are but from or have they which one " +
    "you were all she there would their we him been has when who will more no if out so said what up about into than them can " +
    "only other new some could time these two may then do first any now such like our over man even most made after also " +
    "tokenizer language model attention cache kernel").split(' ');
const scripts = ["Привет, как дела?", "Ελληνικά", "中文字符测试", "日本語のテキスト", "한국어 텍스트", "العربية مرحبا", "עברית שלום", "हिन्दी में पाठ",
    "ภาษาไทย", "Tiếng Việt", "தமிழ்", "𠀀𠀁漢字", "𝕬𝖓𝖓𝖆", "ქართული", "አማርኛ", "ⅣⅫ", "①②③", "½¾", "٣٤٥", "१२३", "Ǆǅǆ", "ﬁﬂ", "ﬆ", "ß", "İıſK",
    "Å", "e\u0301a\u0300\u0323", "\u1100\u1161\u11a8", "각", "\u0958", "ཨོཾ", "𞤀𞤣𞤤𞤢𞤥", "ŉ", "ª", "ʰʲ", "㍿", "Ａｂｃ１"];
const pieces = [
    () => pick(words), () => pick(words), () => pick(words), () => pick(words).toUpperCase(),
    () => { const w = pick(words); return w[0].toUpperCase() + w.slice(1); },
    () => pick(["don't", "I'M", "WE'LL", "they'RE", "it'ſ", "'S", "''s", "l'homme", "can't've", "'llama", "\u2019s"]),
    () => pick(scripts), () => { const c = [...pick(scripts)]; return c.slice(random(c.length)).join(''); },
    () => pick(["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "❤️", "1️⃣", "🧑🏿‍🚀", "🫠", "©", "🅰", "Ⓐ"]),
    () => pick(["\0", "\x01", "\x07", "\x1b[0m", "\x7f", "\x80", "\x85", "\xa0", "\u200b", "\u200d", "\u2028", "\ufeff", "\ufffd",
        "\uffff", "\u00ad", "\u3000", "\u1680", "\u2003", "\ue000", "\u{10ffff}", "\u{e0001}"]),
    () => pick([" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\n \n", "\t\t", " \t ", "\v", "\f", "        ", " \n", "\n  ", "\u00a0 "]),
    () => pick([..."!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "...", "--", "->", "==", "//", "/*", "*/", "«", "“", "…", "—", "¿", "、", "。", "§", "€",
        "≠", "▁", "▁▁", "Ġ", "Ċ", "Ã"]),
    () => pick(["for (int i = 0; i < n; ++i) {\n    sum += a[i];\n}\n", "def f(x):\n\treturn x**2\n\n", "<div class=\"a\">&nbsp;</div>",
        "https://example.com/a?b=c&d=%20#e", "{\"key\": [1, 2.5e-3, null]}", "camelCaseWord", "HTMLParser", "snake_case_word",
        "#include <stdio.h>\r\n", "\\n\\t", "0xDEADBEEF", "v1.2.3-rc4", "//\n/\n", "```cs\nvar x = 1;\n```"]),
    () => pick(["1", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,000,000", "2024-11-21", "007", "²"]),
    () => String.fromCodePoint([0x20 + random(95), 0x80 + random(0x2000), 0x2000 + random(0x6000), 0x10000 + random(0x2000),
        0x1f300 + random(0x700), random(0xd7ff)][random(6)]),
    () => pick([..."aA \n.!1é中"]).repeat(1 + random(50)),
    () => pick(["<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>", "<think>", "<|endoftext|>", "<s>", "</s>", "<bos>", "<eos>",
        "<unk>", "[INST]", "<extra>", "Extra", "single", "<lr>"]),
    () => pick(["<|im_start|>", "<s>", "<|endoftext|>"]).slice(0, -1),
    () => '<0x' + pick(['0A', 'E4', 'zz', 'ff']) + '>',
];
function strings(count, seed) {
    state = seed;
    const all = ["", " ", "  ", "a", " a", "a ", "\n", "\0", "<s>", "<s>hi</s>x", " <s> a", "Hello, world!"];
    while (all.length < count) {
        const kind = random(6), length = kind === 0 ? 1 + random(2) : kind < 4 ? 2 + random(6) : 4 + random(16);
        let text = "";
        for (let i = 0; i < length; i++) {
            text += (kind >= 4 ? pick(pieces.slice(0, 5)) : pick(pieces))();
            text += kind >= 4 ? pick([" ", " ", " ", ", ", ". ", "\n"]) : pick([" ", "", "", "\n", "  "]);
        }
        all.push(text);
    }
    return all;
}
async function expect(tokenizer, list) {
    const out = [];
    for (const s of list) {
        const ids = [...(await tokenizer.encode(s, null, { addSpecialTokens: true })).getIds()];
        const bare = (await tokenizer.encode(s, null, { addSpecialTokens: false })).getIds();
        const text = await tokenizer.decode(ids, true), all = await tokenizer.decode(ids, false);
        // [ids, how many of them stand before and after the text's own, text without special tokens (null = s), with them]
        const before = ids.length - bare.length;
        if (JSON.stringify(ids.slice(before)) !== JSON.stringify([...bare])) throw new Error('specials are not all in front');
        out.push([ids, before, text === s ? null : text, all === text ? null : all]);
    }
    return out;
}

// ---- reduced vocabularies: the symbols and the first merges
const read = name => JSON.parse(fs.readFileSync(path.join(fullDir, name, 'tokenizer.json'), 'utf8'));
const pair = m => Array.isArray(m) ? m : m.split(' ');
function trim(json, merges, keep, asPairs) {
    const vocab = {}, add = t => { if (!(t in vocab)) vocab[t] = Object.keys(vocab).length; };
    json.added_tokens.filter(t => t.content in json.model.vocab && keep(t.content)).forEach(t => add(t.content));
    Object.keys(json.model.vocab).filter(t => keep(t)).forEach(add);
    const kept = json.model.merges.map(pair).filter(m => m.every(t => t in json.model.vocab)).slice(0, merges)
        .filter(([a, b]) => a in vocab && b in vocab && (add(a + b), true));
    json.model.vocab = vocab;
    json.model.merges = asPairs ? kept : kept.map(m => m.join(' '));
    const names = new Set(json.added_tokens.filter(t => t.content in vocab).map(t => t.content));
    json.added_tokens = json.added_tokens.filter(t => names.has(t.content)).map(t => ({ ...t, id: vocab[t.content] }));
    return json;
}
const added = (id, content, more) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...more });
const split = (regex, behavior = 'Isolated', invert = false) => ({ type: 'Split', pattern: { Regex: regex }, behavior, invert });
const bytes = (more = {}) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false, ...more });
const sequence = (...pretokenizers) => ({ type: 'Sequence', pretokenizers });
const bos = (token, id) => ({ type: 'TemplateProcessing', single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }], special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } } });
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]', LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
const TEKKEN = `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const QWEN35 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const CL100K = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";

function bases() {
    const single = t => [...t].length === 1;
    const rare = t => single(t) && (t.charCodeAt(0) < 0x250 || t === '▁');
    const byteToken = t => /^<0x[0-9A-F]{2}>$/.test(t);
    return {
        bytes: trim(read('qwen3'), 900, t => single(t), false),
        llama2: trim(read('llama2'), 1500, t => rare(t) || byteToken(t) || ['<unk>', '<s>', '</s>'].includes(t), false),
        gemma3: trim(read('gemma3'), 900, t => rare(t) || byteToken(t) || /^(\n|\t|▁){1,16}$/.test(t) || ['<unk>', '<bos>', '<eos>', '<pad>',
            '<start_of_turn>', '<end_of_turn>'].includes(t), true),
    };
}
function families(base) {
    const n = Object.keys(base.bytes.model.vocab).length;
    const chatml = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'].map((t, i) => added(n + i, t)).concat([added(n + 3, '<think>', { special: false })]);
    const gpt4o = `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
    const llama3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    const wholes = Object.fromEntries(['Ġtokenizer', 'tokenizer', 'ĠKERNEL', 'ä¸Ńæĸĩ'].map((t, i) => [t, n + 10 + i]));
    const none = { normalizer: null, post_processor: null, decoder: bytes() };
    const metaspace = (more) => ({ type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false, ...more });
    return {
        qwen3: { base: 'bytes', set: { added_tokens: chatml } },
        gpt2: { base: 'bytes', set: { ...none, pre_tokenizer: bytes({ use_regex: true }), added_tokens: chatml.slice(0, 1) } },
        gpt2_prefix: { base: 'bytes', set: { ...none, pre_tokenizer: bytes({ use_regex: true, add_prefix_space: true }), added_tokens: chatml.slice(0, 1) } },
        smollm: { base: 'bytes', set: { ...none, pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, bytes({ use_regex: true })), added_tokens: chatml } },
        llama3: { base: 'bytes', set: { ...none, pre_tokenizer: sequence(split(llama3), bytes()), post_processor: { type: 'Sequence', processors: [bytes(), bos('<|begin_of_text|>', n)] },
            added_tokens: [added(n, '<|begin_of_text|>'), added(n + 1, '<|eot_id|>')] }, model: { ignore_merges: true }, vocab: wholes },
        gpt4o: { base: 'bytes', set: { ...none, pre_tokenizer: sequence(split(gpt4o, 'Removed', true), bytes()), added_tokens: chatml.slice(0, 1) } },
        tekken: { base: 'bytes', set: { ...none, pre_tokenizer: sequence(split(TEKKEN), bytes()), post_processor: bos('<s>', n), added_tokens: [added(n, '<s>'), added(n + 1, '</s>'), added(n + 2, '[INST]')] }, model: { ignore_merges: true }, vocab: wholes },
        qwen35: { base: 'bytes', set: { pre_tokenizer: sequence(split(QWEN35), bytes()), added_tokens: chatml } },
        cl100k: { base: 'bytes', set: { ...none, pre_tokenizer: sequence(split(CL100K, 'Removed', true), bytes()), added_tokens: chatml } },
        falcon: { base: 'bytes', set: { ...none, pre_tokenizer: sequence({ type: 'Punctuation', behavior: 'Contiguous' }, bytes({ use_regex: true }), { type: 'Digits', individual_digits: false }, split('[0-9][0-9][0-9]')), added_tokens: chatml } },
        flags: { base: 'bytes', set: { ...none, normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'Lowercase' }, { type: 'Strip', strip_left: true, strip_right: false }] },
            pre_tokenizer: bytes({ use_regex: true }), added_tokens: [added(n, '<s>', { lstrip: true }), added(n + 1, '</s>', { rstrip: true }), added(n + 2, '<lr>', { lstrip: true, rstrip: true }),
                added(n + 3, 'single', { single_word: true, special: false }), added(n + 4, 'Extra', { normalized: true, special: false }), added(n + 5, '<extra>', { normalized: true }), added(n + 6, '  ', { special: false })] } },
        nfd: { base: 'bytes', set: { ...none, normalizer: { type: 'NFD' }, pre_tokenizer: bytes({ use_regex: true }), added_tokens: [] } },
        nfkd: { base: 'bytes', set: { ...none, normalizer: { type: 'NFKD' }, pre_tokenizer: bytes({ use_regex: true }), added_tokens: [] } },
        llama2: { base: 'llama2', set: {} },
        llama2_metaspace: { base: 'llama2', set: { normalizer: null, pre_tokenizer: metaspace() } },
        metaspace_split: { base: 'llama2', set: { normalizer: null, pre_tokenizer: metaspace({ prepend_scheme: 'always', split: true }), decoder: metaspace({ prepend_scheme: 'always', split: true }) }, model: { byte_fallback: false } },
        no_fuse: { base: 'llama2', set: {}, model: { byte_fallback: false, fuse_unk: false } },
        gemma3: { base: 'gemma3', set: {} },
        gemma1: { base: 'gemma3', set: { pre_tokenizer: null } },
    };
}
function build(base, family) {
    const json = JSON.parse(JSON.stringify(base[family.base]));
    Object.assign(json, family.set);
    Object.assign(json.model, family.model ?? {});
    Object.assign(json.model.vocab, family.vocab ?? {});
    return json;
}

(async () => {
    if (mode === 'full') {
        for (const name of fs.readdirSync(fullDir).filter(d => fs.existsSync(path.join(fullDir, d, 'tokenizer.json')))) {
            const list = strings(4000, 20), tokenizer = Tokenizer.fromFile(path.join(fullDir, name, 'tokenizer.json'));
            fs.writeFileSync(path.join(fullDir, name, 'golden.json'), JSON.stringify({ strings: list, expected: await expect(tokenizer, list) }));
            console.log(`${name}: ${list.length} strings`);
        }
        return;
    }
    const base = bases(), list = strings(260, 3);
    for (const [name, json] of Object.entries(base)) fs.writeFileSync(path.join(outDir, `base-${name}.json`), JSON.stringify(json));
    fs.writeFileSync(path.join(outDir, 'strings.json'), JSON.stringify(list));
    for (const [name, family] of Object.entries(families(base))) {
        const tokenizer = Tokenizer.fromString(JSON.stringify(build(base, family)));
        fs.writeFileSync(path.join(outDir, `family-${name}.json`), JSON.stringify({ ...family, expected: await expect(tokenizer, list) }));
    }
})();
