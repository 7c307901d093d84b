"""What mask to draw, and how it is worn."""

import re
from dataclasses import dataclass

KINDS = ("surgical", "n95", "n95_valve", "kn95", "duckbill", "cloth", "gas", "bandana")
MIXED = "mixed"  # any kind, drawn by chance
WEARS = ("right", "nose_out", "chin")
PATTERNS = ("plain", "checks", "stripes", "dots", "floral", "camouflage", "print")
COLOURS = {  # reflectance, 0..1
    "blue": (0.55, 0.74, 0.86),
    "white": (0.87, 0.88, 0.88),
    "green": (0.60, 0.79, 0.72),
    "black": (0.11, 0.11, 0.12),
    "grey": (0.48, 0.49, 0.51),
    "navy": (0.13, 0.17, 0.31),
    "red": (0.66, 0.14, 0.15),
    "burgundy": (0.39, 0.10, 0.16),
    "pink": (0.90, 0.66, 0.70),
    "orange": (0.88, 0.49, 0.16),
    "yellow": (0.90, 0.80, 0.36),
    "olive": (0.37, 0.38, 0.22),
    "teal": (0.14, 0.46, 0.47),
    "purple": (0.43, 0.28, 0.53),
    "brown": (0.40, 0.28, 0.20),
    "beige": (0.82, 0.75, 0.64),
}
_HEX = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True)
class MaskSpec:
    """A mask; what is None is drawn by chance from what its kind usually has.

    Attributes:
        kind: one of KINDS, or 'mixed' for any of them.
        colour: one of COLOURS, or '#rrggbb'.
        pattern: one of PATTERNS.
        wear: 'right', or wrongly: 'nose_out' (under the nose) or 'chin' (under the mouth).
    """

    kind: str
    colour: str | None = None
    pattern: str | None = None
    wear: str = "right"

    def __post_init__(self) -> None:
        known = {"kind": (*KINDS, MIXED), "pattern": (*PATTERNS, None), "wear": WEARS}
        for name, values in known.items():
            if getattr(self, name) not in values:
                shown = [value for value in values if value]
                raise ValueError(f"{name} of a mask should be one of {shown}, got {getattr(self, name)!r}")
        if self.colour is not None and self.colour not in COLOURS and not _HEX.fullmatch(self.colour):
            raise ValueError(f"colour of a mask should be one of {list(COLOURS)} or '#rrggbb', got {self.colour!r}")

    @classmethod
    def parse(cls, text: "str | MaskSpec") -> "MaskSpec":
        """A kind and, after colons and in any order, colour, pattern and wear: 'cloth:checks:red', 'n95:nose_out'."""
        if isinstance(text, MaskSpec):
            return text
        kind, *details = (part.strip().lower() for part in str(text).split(":"))
        if kind not in (*KINDS, MIXED):
            raise ValueError(f"mask should be one of {[*KINDS, MIXED]}, got {kind!r} in {text!r}")
        found: dict[str, str] = {}
        for part in details:
            if part in PATTERNS:
                name = "pattern"
            elif part in WEARS:
                name = "wear"
            elif part in COLOURS or _HEX.fullmatch(part):
                name = "colour"
            else:
                raise ValueError(
                    f"a mask's detail should be a colour ({', '.join(COLOURS)}, #rrggbb), a pattern "
                    f"({', '.join(PATTERNS)}) or a wear ({', '.join(WEARS)}), got {part!r} in {text!r}"
                )
            if name in found:
                raise ValueError(f"mask should name one {name}, got {found[name]!r} and {part!r} in {text!r}")
            found[name] = part
        return cls(kind, **found)

    def __str__(self) -> str:
        wear = None if self.wear == "right" else self.wear
        return ":".join(part for part in (self.kind, self.pattern, self.colour, wear) if part)

    @property
    def rgb(self) -> tuple[float, float, float] | None:
        """The colour's reflectance, 0..1."""
        if self.colour is None or self.colour in COLOURS:
            return COLOURS.get(self.colour or "")
        red, green, blue = (int(self.colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return red, green, blue
