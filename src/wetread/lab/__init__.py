"""Where the reference models come from: the only room that may import torch.

May change freely: anything; it hands over files only.  Must not: be imported by
anyone but `cli`.
"""
