"""A checkpoint to a file for others: a graph for runtimes without torch, or the layout of NVIDIA's code.

A graph is compared with the checkpoint once it is written.

  waveglow export onnx lapglow voice.onnx
  waveglow export nvidia runs/ljspeech waveglow.pt
"""

VERBS = {"onnx": "one .onnx file, in float32 or with 8-bit nets", "nvidia": "a WaveGlow as NVIDIA's glow.py loads it"}
completed = list
