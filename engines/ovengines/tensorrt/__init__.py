"""The TensorRT back end. The only place in the project that imports tensorrt, and only when used.

From a bundle to serialized engines (recipe, profiles, prepare, child, gate, store) and from those to logits (engine,
tower, projector, decoder, cache). What talks to TensorRT itself is in api, builder, monitor, plan and native, behind
the interfaces of backend.py. Not yet run on a device.
"""
