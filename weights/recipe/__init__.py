"""The recipe of KvCuda's small models: a corpus, a tokenizer, a Llama whose layers may share keys and values."""
