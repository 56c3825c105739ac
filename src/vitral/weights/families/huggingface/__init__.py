"""Networks of Hugging Face's transformers: one module for each of its kinds, by its own `model_type`."""
