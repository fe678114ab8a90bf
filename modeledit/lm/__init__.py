"""A language model, its tokenizer, and what they say of token rows."""
