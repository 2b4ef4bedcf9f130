"""The tables at the end of a replay, readable without colour."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seeds.replay.findings import POLICY_GATE_SHUT, Findings, spread


def print_run(console: Console, findings: Findings) -> None:
    """What one run came to."""
    if findings.refusals:
        console.print(_refusals(findings))
    if findings.told:
        console.print(_told(findings))
    if findings.withdrawals:
        console.print(_withdrawals(findings))


def print_summary(console: Console, runs: Sequence[Findings]) -> None:
    """The policies side by side, then what was wrong."""
    table = Table(title="The same days under each policy", title_justify="left")
    table.add_column("")
    for findings in runs:
        table.add_column(_title(findings.policy), justify="right")
    for label, cells in _rows(runs):
        table.add_row(label, *cells)
    console.print(table)
    for findings in runs:
        problems = findings.problems()
        for problem in problems:
            console.print(Text(f"WRONG ({findings.policy}): {problem}", style="bold red"))
        if not problems:
            console.print(
                Text(f"OK ({findings.policy}): nothing was sold that may not be sold.", style="bold green")
            )


def print_logins(console: Console, logins: dict[str, str]) -> None:
    for what, value in logins.items():
        console.print(Text(f"{what}: {value}"), soft_wrap=True)


def _title(policy: str) -> str:
    return "gate shut" if policy == POLICY_GATE_SHUT else f"policy of {policy}"


def _rows(runs: Sequence[Findings]) -> list[tuple[str, list[str]]]:
    return [
        ("importer's listings that went live", [f"{len(r.went_live)} of 4" for r in runs]),
        ("orders of all kinds", [str(r.orders) for r in runs]),
        ("orders of withdrawn phones before the withdrawal", [str(r.orders_before()) for r in runs]),
        ("  of them held", [str(sum(w.orders_held for w in r.withdrawals)) for r in runs]),
        ("orders of withdrawn phones after it (must be 0)", [str(r.orders_after()) for r in runs]),
        ("late orders by snapshot proof (must be 0)", [str(r.late_orders) for r in runs]),
        ("checkouts refused", [str(r.refused_checkouts) for r in runs]),
        ("orders of the honest vendor", [str(r.honest_orders) for r in runs]),
        ("honest listings that fell (must be 0)", [str(len(r.honest_fell)) for r in runs]),
        ("revocation to page gone: p50 / p95 / max", [_spread(r.page_times()) for r in runs]),
        ("revocation to delisted:  p50 / p95 / max", [_spread(r.delisting_times()) for r in runs]),
        (
            "pages that offered it after the commit (must be 0)",
            [str(sum(w.late_pages for w in r.withdrawals)) for r in runs],
        ),
        ("requests of the watchers that failed", [str(r.failed_requests) for r in runs]),
        ("public notice", [r.notice or "none needed" for r in runs]),
        ("proofs of removal that verify", [str(sum(w.is_proof_valid for w in r.withdrawals)) for r in runs]),
    ]


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return " / ".join(f"{value:.0f}" for value in spread(values).values() if value is not None) + " ms"


def _refusals(findings: Findings) -> Table:
    table = Table(title="What the vendor was told", title_justify="left")
    table.add_column("SKU", no_wrap=True)
    table.add_column("reason", no_wrap=True)
    table.add_column("message")
    for sku, reasons in findings.refusals.items():
        for code, message in reasons:
            table.add_row(sku, code, message)
    return table


def _told(findings: Findings) -> Table:
    table = Table(title="Who was told when (times are of the exercise)", title_justify="left")
    table.add_column("when", no_wrap=True)
    table.add_column("who")
    table.add_column("what")
    for told in findings.told:
        table.add_row(told.at[:19].replace("T", " "), told.who, told.what)
    return table


def _withdrawals(findings: Findings) -> Table:
    table = Table(title="What each word took down", title_justify="left")
    for heading in (
        "word of",
        "fell",
        "commit",
        "last page gone",
        "last delisted",
        "orders before",
        "held",
        "after",
    ):
        table.add_column(heading)
    for row in findings.withdrawals:
        table.add_row(
            row.requested_by,
            ", ".join(row.previewed),
            f"{row.commit_ms:.0f} ms",
            _latest(row.pages_ms),
            _latest(row.delisted_ms),
            str(row.orders_before),
            str(row.orders_held),
            str(row.orders_after),
        )
    return table


def _latest(times: dict[str, float]) -> str:
    return f"{max(times.values()):.0f} ms" if times else "never"
