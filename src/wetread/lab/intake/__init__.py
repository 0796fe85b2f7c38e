"""Other people's models -> model folders; whatever could run code or fill the memory is refused unopened.

The door is `wetread.lab.intake.take`; nothing is imported here, so that `trial` starts without torch.
"""
