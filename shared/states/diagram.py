"""The state diagram of README, drawn from the two tables as Mermaid; `python -m shared.states.diagram` prints it."""

import sys
from collections.abc import Iterable, Mapping, Sequence

from shared.schemas.statuses import ProtocolStatus, StepStatus
from shared.states import protocol, step

BEGIN = "<!-- states:begin -->"
END = "<!-- states:end -->"

# Where a trigger has several targets, the plan and the steps choose among them.
CHOICE = "as_the_steps_stand"

Edges = Mapping[str, Sequence[tuple[str, str]]]


def block() -> str:
    """The text between README's markers, markers included."""
    parts = [
        BEGIN,
        _drawing("Protocol", list(ProtocolStatus), _protocol()),
        _drawing("Step", list(StepStatus), _step()),
        END,
    ]
    return "\n\n".join(parts)


def _protocol() -> Edges:
    return _edges((source, trigger, tuple(to)) for (source, trigger), to in protocol.TABLE.items())


def _step() -> Edges:
    return _edges((source, trigger, (to,)) for (source, trigger), to in step.TABLE.items())


def _edges(rows: Iterable[tuple[str, str, tuple[str, ...]]]) -> Edges:
    """The arrows by trigger; moves that change only phase or reason are no arrows."""
    edges: dict[str, list[tuple[str, str]]] = {}
    for source, trigger, targets in rows:
        if len(targets) > 1:
            edges.setdefault(trigger, []).append((source, CHOICE))
            edges[""] = [(CHOICE, target) for target in targets]
        elif source not in targets:
            edges.setdefault(trigger, []).extend((source, target) for target in targets)
    return edges


def _drawing(title: str, order: Sequence[str], edges: Edges) -> str:
    """One `stateDiagram-v2`: what every open status does is one arrow from `open`; triggers side by side share one."""
    sources = {source for arrows in edges.values() for source, _ in arrows}
    statuses = [each for each in order if each in sources]
    inner = [*statuses, CHOICE] if CHOICE in sources else statuses
    shared = {trigger: arrows[0][1] for trigger, arrows in edges.items() if _from_all(arrows, statuses)}
    labels: dict[tuple[str, str], list[str]] = {}
    for trigger, arrows in edges.items():
        for arrow in arrows:
            if trigger not in shared:
                labels.setdefault(arrow, []).append(trigger)
    labels = dict(sorted(labels.items(), key=lambda each: inner.index(each[0][0])))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {order[0]}", f'    state "{title}: open" as open {{']
    if CHOICE in inner:
        lines.append(f"        state {CHOICE} <<choice>>")
    lines += [f"        {_arrow(*arrow, names)}" for arrow, names in labels.items() if arrow[1] in inner]
    lines.append("    }")
    lines += [f"    {_arrow(*arrow, names)}" for arrow, names in labels.items() if arrow[1] not in inner]
    ways: dict[str, list[str]] = {}
    for trigger, to in shared.items():
        ways.setdefault(to, []).append(trigger)
    lines += [f"    {_arrow('open', to, names)}" for to, names in ways.items()]
    ends = dict.fromkeys(to for arrows in edges.values() for _, to in arrows if to not in inner)
    lines += [f"    {end} --> [*]" for end in ends]
    return "\n".join([*lines, "```"])


def _arrow(source: str, target: str, names: Sequence[str]) -> str:
    label = ", ".join(name for name in names if name)
    return f"{source} --> {target}" + (f": {label}" if label else "")


def _from_all(arrows: Sequence[tuple[str, str]], inner: Sequence[str]) -> bool:
    """Whether each status that is not final has this arrow, all to one status (which itself may lack it)."""
    targets = {to for _, to in arrows}
    return len(targets) == 1 and {source for source, _ in arrows} | targets >= set(inner)


def main() -> None:
    """Print the block."""
    sys.stdout.write(block() + "\n")


if __name__ == "__main__":
    main()
