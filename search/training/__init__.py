"""One run, from a spec to a record: coqui's GPTTrainer and a corrected Trainer. Imports torch."""
