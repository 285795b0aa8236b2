"""A report in a terminal, at 80 columns and more; in a pipe each item is one line."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.check.judgement import Finding, Report
from search.show import check_words as words
from search.show import styles
from search.text import printable

SHOWN_FILES, SHOWN_ROWS = 4, 20
_STYLES = {"error": f"bold {styles.FAILED}", "warning": styles.WARNING, "info": ""}


def show(report: Report, console: Console) -> None:
    """Prints the facts, then the findings, the worst first, then the verdict."""
    console.print(Text(f"Check of study {report.study}", style="bold"))
    for table in words.tables(report):
        console.print()
        if table.header:
            cut = f", {SHOWN_ROWS} of {len(table.rows)}" if len(table.rows) > SHOWN_ROWS else ""
            styles.show_table(console, replace(table, title=f"{table.title}{cut}", rows=table.rows[:SHOWN_ROWS]))
        else:
            console.print(Text(table.title, style="bold"))
            _grid(console, [(f"  {name:<11}", Text(printable(value))) for name, value in table.rows])
    if report.findings:
        _title(console, "Findings")
    for finding in report.findings:
        _finding(console, finding, report.root)
    _title(console, words.verdict(report))


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _grid(console: Console, rows: Sequence[tuple[str, Text]], style: str = "") -> None:
    """Two columns; a line that is too long for the terminal continues below its second column."""
    if not console.is_terminal:
        for first, second in rows:
            console.print(Text.assemble(first, " ", second), soft_wrap=True)
        return
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for first, second in rows:
        table.add_row(Text(first, style=style), second)
    console.print(table)


def _finding(console: Console, finding: Finding, root: str) -> None:
    rows = [Text(printable(finding.message), style="bold" if finding.level == "error" else "")]
    if finding.next_step:
        rows.append(Text(f"→ {printable(finding.next_step)}"))
    lines = finding.details if finding.area != "letters" else []  # they have a table of their own
    rows += [Text(printable(words.short(line, root))) for line in lines[:SHOWN_FILES]]
    if len(lines) > SHOWN_FILES:
        rows.append(Text(f"and {len(lines) - SHOWN_FILES:,} more"))
    labels = [f"  {finding.level:<8}", *[" " * 10] * (len(rows) - 1)]
    _grid(console, list(zip(labels, rows, strict=True)), _STYLES[finding.level])
