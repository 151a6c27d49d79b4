"""The model server: question -> prompt -> one scoring pass -> answer, behind the KServe SDK."""

__version__ = "0.2.0"
