"""What a replay measured, and what of it must not be. Plain values: a run hands them on as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

from seeds.replay.measure import percentile

POLICY_2016, POLICY_GATE_SHUT = "2016", "gate-shut"
POLICIES = (POLICY_2016, POLICY_GATE_SHUT)


@dataclass
class Withdrawal:
    """One word of a party, and what the store made of it. Durations are real milliseconds."""

    requested_by: str
    fact: str
    previewed: list[str]
    open_carts: int
    unshipped_orders: int
    commit_ms: float = 0.0
    # By device page: from before the commit until the first page without the offer.
    pages_ms: dict[str, float] = field(default_factory=dict)
    # By SKU: until the API told that the listing is suspended, which is the workers' doing.
    delisted_ms: dict[str, float] = field(default_factory=dict)
    # Pages asked for after the commit that still offered the phone.
    late_pages: int = 0
    not_gone: list[str] = field(default_factory=list)
    orders_before: int = 0
    orders_after: int = 0
    orders_held: int = 0
    proof: str = ""
    is_proof_valid: bool = False


@dataclass
class Told:
    at: str
    who: str
    what: str


@dataclass
class Findings:
    policy: str
    dates: str
    story: str
    database: str = ""
    timeline: list[dict[str, str]] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    # What the vendor was told of each listing: SKU -> [code, message] pairs.
    refusals: dict[str, list[list[str]]] = field(default_factory=dict)
    went_live: list[str] = field(default_factory=list)
    should_go_live: list[str] = field(default_factory=list)
    # Pages of the importer's phones that ever offered one.
    offered_pages: list[str] = field(default_factory=list)
    honest_listings: list[str] = field(default_factory=list)
    honest_fell: list[str] = field(default_factory=list)
    orders: int = 0
    honest_orders: int = 0
    refused_checkouts: int = 0
    late_orders: int = 0
    notice: str = ""
    failed_requests: int = 0
    overdue: str = ""
    wrong: list[str] = field(default_factory=list)
    logins: dict[str, str] = field(default_factory=dict)

    def page_times(self) -> list[float]:
        return [value for withdrawal in self.withdrawals for value in withdrawal.pages_ms.values()]

    def delisting_times(self) -> list[float]:
        return [value for withdrawal in self.withdrawals for value in withdrawal.delisted_ms.values()]

    def orders_before(self) -> int:
        return sum(withdrawal.orders_before for withdrawal in self.withdrawals)

    def orders_after(self) -> int:
        return sum(withdrawal.orders_after for withdrawal in self.withdrawals)

    def problems(self) -> list[str]:
        """Why this run must not count as good; empty if it is."""
        found = [*self.wrong]
        if self.overdue:
            found.append(f"The replay gave up: {self.overdue}.")
        if self.orders_after() or self.late_orders:
            found.append(
                f"Orders after a withdrawal: {self.orders_after()}; by snapshot: {self.late_orders}."
            )
        for withdrawal in self.withdrawals:
            found += _problems_of(withdrawal)
        found += [f"The honest listing {name} fell." for name in self.honest_fell]
        found += self._problems_of_the_gate()
        return found

    def _problems_of_the_gate(self) -> list[str]:
        found = [
            f"{sku} should have gone live and did not."
            for sku in self.should_go_live
            if sku not in self.went_live
        ]
        if self.policy == POLICY_GATE_SHUT:
            found += [f"{sku} went live although the gate is shut." for sku in self.went_live]
            found += [
                f"The page of {name} offered it although the gate is shut." for name in self.offered_pages
            ]
        elif not self.notice and not self.overdue:
            found.append("No public notice is up.")
        return found

    def as_json(self) -> dict[str, Any]:
        """For whoever reads the numbers; logins stay out of files that are kept."""
        fields = asdict(self)
        del fields["logins"]
        return fields | {
            "orders_before": self.orders_before(),
            "orders_after": self.orders_after(),
            "page_gone_ms": spread(self.page_times()),
            "delisted_ms": spread(self.delisting_times()),
            "problems": self.problems(),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Findings":
        known = dict(fields)
        known["withdrawals"] = [Withdrawal(**row) for row in known["withdrawals"]]
        known["told"] = [Told(**row) for row in known["told"]]
        return cls(**known)


def _problems_of(withdrawal: Withdrawal) -> list[str]:
    name = f"after the word of {withdrawal.requested_by}"
    found = [f"{gone} stayed on sale {name}." for gone in withdrawal.not_gone]
    if withdrawal.late_pages:
        found.append(f"{withdrawal.late_pages} pages asked for {name} still offered a phone.")
    if not withdrawal.proof:
        found.append(f"No proof of removal was issued {name}.")
    elif not withdrawal.is_proof_valid:
        found.append(f"The proof of removal {withdrawal.proof} does not verify.")
    return found


def spread(values: list[float]) -> dict[str, float | None]:
    return {
        "p50": percentile(values, 0.50),
        "p95": percentile(values, 0.95),
        "max": max(values, default=None),
    }
