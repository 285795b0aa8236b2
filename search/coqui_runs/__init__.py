"""What run folders of coqui's trainer hold: checkpoints, and logs that do not mean what they say."""
