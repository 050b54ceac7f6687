"""The recipe of KvCuda's small models: a corpus, a tokenizer, a Llama whose layers may share keys and values."""


class RecipeError(Exception):
    """What whoever runs the recipe can mend; printed in one line."""
