"""One run: coqui's GPTTrainer and a corrected Trainer, from a spec to a record. Imports torch."""
