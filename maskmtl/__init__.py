"""MaskMTL: multi-task networks that read age, gender and ethnicity from bare and masked faces."""

__version__ = "0.2.0.dev0"
