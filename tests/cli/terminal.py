# SPDX-License-Identifier: MIT
"""A program on a pseudo terminal, and what its user sees in the end."""
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

SEQUENCE = re.compile(r"\x1b\[(\d*)([A-Za-z])")


def run_on_terminal(command, columns, **options):
    """Exit code, all that was written to the terminal, standard error."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave,
                               stderr=subprocess.PIPE, text=True, **options)
    os.close(slave)
    written = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # the last writer has closed
            break
        if not data:
            break
        written += data
    os.close(master)
    errors = process.communicate(timeout=60)[1]
    return process.returncode, written.decode(errors="replace"), errors


class Screen:
    """As much of a terminal as the programs use; a line may be wrapped at the right edge."""

    def __init__(self, columns):
        self.columns, self.row, self.column, self.is_dim = columns, 0, 0, False
        self.cells = {}

    def write(self, text):
        while text:
            match = SEQUENCE.match(text)
            if match:
                self.control(int(match[1] or 0), match[2])
                text = text[match.end():]
            else:
                self.put(text[0])
                text = text[1:]

    def control(self, number, what):
        if what == "m":
            self.is_dim = number == 2
        elif what == "A":
            self.row = max(0, self.row - number)
        elif what == "C":
            self.column = min(self.columns - 1, self.column + number)
        elif what in "JK":
            # From the cursor on; at the right edge it stands on the last cell.
            column = min(self.column, self.columns - 1)
            self.cells = {(r, c): cell for (r, c), cell in self.cells.items()
                          if (r, c) < (self.row, column) or (what == "K" and r != self.row)}
        else:
            raise ValueError(f"unknown sequence {what}")

    def put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
        elif character == "\x1b":
            raise ValueError("a lone escape character")
        else:
            if self.column == self.columns:
                self.row, self.column = self.row + 1, 0
            self.cells[self.row, self.column] = (character, self.is_dim)
            self.column += 1

    def text(self):
        """All lines without blanks at their ends, and whether any cell is dim."""
        rows = [""] * (max((r for r, _ in self.cells), default=-1) + 1)
        for (row, column), (character, _) in sorted(self.cells.items()):
            rows[row] = rows[row].ljust(column) + character
        return [row.rstrip() for row in rows], any(dim for _, dim in self.cells.values())


def shown(text, columns):
    """The lines of a terminal on which only 'text' was written."""
    screen = Screen(columns)
    screen.write(text.replace("\n", "\r\n"))
    return screen.text()[0]
