"""Export of greedy policies: ONNX and safetensors files, compared with the library's own answers."""
