"""Export of greedy policies to ONNX and safetensors files, verified against the library."""
