"""Other people's models -> model folders; whatever could run code or fill the memory is refused unopened."""

from wetread.lab.intake.take import take_in

__all__ = ["take_in"]
