"""Weights that the package ships, each with its card: NAME.safetensors and NAME.json."""
