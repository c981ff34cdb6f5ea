"""Runs an ONNX graph in torch, so that its weights can be trained and its inner tensors be seen.

Start at ``torch_graph.TorchGraph``; ``operators.OPERATORS`` is the list of what can be executed, and ``call`` says what
an operator's function looks like.  Importing this package imports torch only with its modules.
"""
