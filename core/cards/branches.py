"""What is said when a task was forked or put back: what runs anew, and what has happened and stays."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from core.display import visible


def forked_text(source: int, step: int, made: int, repeats: Sequence[tuple[int, str]]) -> str:
    """`repeats` are the steps, with their titles, that run again although they happened in the source."""
    lines = [f"Task {made} goes on from step {step} of task {source}; what does not depend on it is kept."]
    lines += [f"Step {n} happened in task {source} and is done again here: {visible(title)}" for n, title in repeats]
    return "\n".join(lines)


def rolled_back_text(
    task: int,
    label: str,
    *,
    made: int | None,
    again: Collection[int],
    dropped: Collection[int],
    busy: Collection[int],
    remains: Sequence[tuple[int, str, str | None]],
) -> str:
    """`made` is the task that goes on for one that had ended; `remains` are (step, title, the command that takes it back)."""
    lines = [
        f"The plan of task {task} is what it was at version {label}."
        if made is None
        else f"Task {task} has ended, so task {made} goes on from its version {label}."
    ]
    if again:
        lines.append(f"{_steps(again)} {'runs' if len(again) == 1 else 'run'} again.")
    if dropped:
        lines.append(f"{_steps(dropped)} came later and {'is' if len(dropped) == 1 else 'are'} dropped.")
    if busy:
        lines.append(f"{_steps(busy)} {'is' if len(busy) == 1 else 'are'} under way or in doubt and left to end.")
    if remains:
        lines.append("What has happened stays:")
        lines += [
            f"  step {n}: {visible(title)}" + (f" (to take it back: {undo})" if undo else "")
            for n, title, undo in remains
        ]
    return "\n".join(lines)


def _steps(numbers: Collection[int]) -> str:
    listed = ", ".join(map(str, sorted(numbers)))
    return f"Step {listed}" if len(numbers) == 1 else f"Steps {listed}"
