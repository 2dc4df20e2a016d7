"""Why a run of a machine ended, and what it took."""

from __future__ import annotations

from dataclasses import dataclass

TEXT, CONDITION, TIME, INSTRUCTIONS, TIMEOUT = "text", "condition", "time", "instructions", "timeout"
STOPPED, BREAKPOINT, ASLEEP = "stopped", "breakpoint", "asleep"
FRAMES = "frames"
HALTED, SHUTDOWN, POWER_OFF, RESET, EXIT = "halted", "shutdown", "power-off", "reset", "exit"

MEANING = {
    TEXT: "the guest printed the text that was waited for",
    CONDITION: "the condition holds",
    TIME: "the guest's clock got there",
    INSTRUCTIONS: "so many instructions were executed",
    TIMEOUT: "the host's clock ran out",
    STOPPED: "stop() was called",
    BREAKPOINT: "the processor is about to execute the instruction at a breakpoint",
    ASLEEP: "the processor sleeps and no chip is going to wake it; typing into the console may",
    FRAMES: "a network card has sent frames",
    HALTED: "the processor sleeps with interrupts off, for ever",
    SHUTDOWN: "an exception could not be delivered, nor the double fault: the processor has shut down (triple fault)",
    POWER_OFF: "the guest switched the machine off",
    RESET: "the guest asked for a reset, and there is no firmware to start again",
    EXIT: "the guest ended the machine with an exit status",
}
FINAL = frozenset((HALTED, SHUTDOWN, POWER_OFF, RESET, EXIT))
"""After one of these the machine does not go on."""


@dataclass(frozen=True)
class Stop:
    """How a call of :meth:`Machine.run` ended. Equal to a string when that is its :attr:`reason`."""

    reason: str
    """One word; :attr:`meaning` explains it."""
    icount: int
    """Instructions executed since power-on."""
    now: int
    """The guest's time, nanoseconds since power-on."""
    instructions: int
    """Instructions of this run."""
    seconds: float
    """Host time of this run."""
    asleep: float
    """Part of it in which the processor slept (host clock only)."""
    status: int | None = None
    """Exit status, when the guest gave one."""

    @property
    def meaning(self) -> str:
        """The reason in a sentence."""
        return MEANING[self.reason]

    @property
    def final(self) -> bool:
        """Whether the machine is at its end."""
        return self.reason in FINAL

    @property
    def mips(self) -> float:
        """Million instructions a second of host time awake."""
        awake = self.seconds - self.asleep
        return self.instructions / awake / 1e6 if awake > 0 else 0.0

    def __eq__(self, other: object) -> bool:
        return other == self.reason if isinstance(other, str) else self is other

    def __hash__(self) -> int:
        return hash(self.reason)

    def __repr__(self) -> str:
        status = f" {self.status}" if self.status is not None else ""
        return (
            f"<Stop: {self.reason}{status} after {self.instructions:,} instructions in {self.seconds:.3f} s "
            f"({self.mips:.0f} MIPS), guest time {self.now / 1e9:.6f} s>"
        )
