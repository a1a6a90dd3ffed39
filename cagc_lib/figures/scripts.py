"""What the scripts of sliders and sortable measurements share: their data, and how they are wired.

A script loops over every copy of its figure that is not wired up yet, so the same cell shown twice
on a page works twice. No numerics. Used by `sliders` and `explorer`.
"""

import hashlib
import json
from collections.abc import Mapping


def script_text(value: object) -> str:
    """A value as the text of a script; "</" inside a string would end the script early."""
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/")


def identity_of(text: str) -> str:
    """A figure's name, derived from its content, so that a re-run stores the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def wired(kind: str, identity: str, place: str, data: Mapping[str, str], body: str) -> str:
    """The script that runs a body for each element whose attribute data-KIND is the identity.

    Args:
        kind, identity: which elements.
        place: what the body calls the element.
        data: constants of the script, name -> text.
        body: lines of JavaScript, indented by four.
    """
    constants = "".join(f"  const {name} = {text};\n" for name, text in data.items())
    return (
        f"\n(() => {{\n{constants}"
        f"  for (const {place} of document.querySelectorAll('[data-{kind}=\"{identity}\"]')) {{\n"
        f"    if ({place}.dataset.ready) continue;\n"
        f'    {place}.dataset.ready = "1";\n{body}  }}\n}})();\n'
    )
