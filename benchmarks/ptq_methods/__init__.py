"""The side-by-side comparison of post-training quantization: its rows, what they are given, how they are judged."""
