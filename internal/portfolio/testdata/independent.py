#!/usr/bin/env python3
"""Calculates the figures of portfolio_overview a second time, for the Go tests to compare with.

    python3 internal/portfolio/testdata/independent.py configs/sample > internal/portfolio/testdata/golden.json

Written against docs/reference alone and deliberately naive: everything is recomputed for every
day from the whole ledger, with Decimal for money, the standard library's exact statistics for
moments, and Newton's method for rates of return. It shares no code and no approach with the Go
package. Standard library only.
"""

import csv
import json
import math
import pathlib
import statistics
import sys
from bisect import bisect_right
from datetime import date
from decimal import Decimal as D, getcontext

getcontext().prec = 50
DATA = pathlib.Path(sys.argv[1])
HERE = pathlib.Path(__file__).parent
YEAR = 252


def rows(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


class Series:
    def __init__(self):
        self.dates, self.values = [], []

    def add(self, day, value):
        self.dates.append(day)
        self.values.append(value)

    def on(self, day):
        i = bisect_right(self.dates, day)
        return self.values[i - 1] if i else None


PRICES, FX, RF = {}, {}, Series()
for r in rows(DATA / "prices.csv"):
    PRICES.setdefault(r["symbol"], Series()).add(r["date"], D(r["close"]))
for r in rows(DATA / "fx.csv"):
    FX.setdefault((r["base"], r["quote"]), Series()).add(r["date"], D(r["rate"]))
for r in rows(DATA / "factors.csv"):
    RF.add(r["date"], float(r["rf"]))
CURRENCY = {r["symbol"]: r["currency"] for r in rows(DATA / "securities.csv")}


def rate(a, b, day):
    """Units of b for one a. Every pair of the sample has USD on one side."""
    if a == b:
        return D(1)
    if (a, b) in FX:
        return FX[a, b].on(day)
    if (b, a) in FX:
        return 1 / FX[b, a].on(day)
    return rate(a, "USD", day) * rate("USD", b, day)


class Book:
    """A ledger read anew for every question."""

    def __init__(self, path, base, calendar, asof):
        self.base, self.asof = base, asof
        self.txs = [t for t in rows(path) if t["date"] <= asof]
        first = self.txs[0]["date"]
        self.days = [d for d in PRICES[calendar].dates if first <= d <= asof]

    def held(self, day):
        """Quantities at the end of day: ({symbol: quantity}, {currency: amount})."""
        securities, cash = {}, {}
        for t in self.txs:
            if t["date"] > day:
                continue
            cash[t["currency"]] = cash.get(t["currency"], D(0)) + D(t["amount"])
            if t["type"] == "FX":
                received = t["symbol"].split("/")[0]
                cash[received] = cash.get(received, D(0)) + D(t["quantity"])
            elif t["type"] in ("BUY", "SELL"):
                sign = 1 if t["type"] == "BUY" else -1
                securities[t["symbol"]] = securities.get(t["symbol"], D(0)) + sign * D(t["quantity"])
        return ({k: v for k, v in securities.items() if v}, {k: v for k, v in cash.items() if v})

    def lines(self, day):
        """{(symbol, currency): quantity}; cash has the symbol CASH:<currency>."""
        securities, cash = self.held(day)
        out = {(s, CURRENCY[s]): q for s, q in securities.items()}
        out.update({("CASH:" + c, c): q for c, q in cash.items()})
        return out

    def price(self, symbol, day):
        return D(1) if symbol.startswith("CASH:") else PRICES[symbol].on(day)

    def worth(self, symbol, currency, quantity, day):
        return quantity * self.price(symbol, day) * rate(currency, self.base, day)

    def nav(self, day):
        return sum((self.worth(s, c, q, day) for (s, c), q in self.lines(day).items()), D(0))

    def flows(self, i):
        """[(currency, amount in base)] counted on valuation day i."""
        after = self.days[i - 1] if i else ""
        return [
            (t["currency"], D(t["amount"]) * rate(t["currency"], self.base, self.days[i]))
            for t in self.txs
            if t["type"] in ("DEPOSIT", "WITHDRAWAL") and after < t["date"] <= self.days[i]
        ]

    def lots(self, symbol):
        """Open lots, first in first out: [[date, quantity, cost]], signed."""
        lots = []
        for t in self.txs:
            if t["symbol"] != symbol or t["type"] not in ("BUY", "SELL"):
                continue
            q = D(t["quantity"]) if t["type"] == "BUY" else -D(t["quantity"])
            unit = -D(t["amount"]) / q
            while q and lots and (lots[0][1] > 0) != (q > 0):
                d, have, paid = lots[0]
                used = min(abs(have), abs(q))
                sign = 1 if have > 0 else -1
                left = have - sign * used
                q += sign * used
                if left:
                    lots[0] = [d, left, paid * left / have]
                else:
                    lots.pop(0)
            if q:
                lots.append([t["date"], q, unit * q])
        return lots


def irr(flows):
    """Newton on the rate, from several guesses; flows are [(date, amount)]."""
    start = date.fromisoformat(flows[0][0])
    f = [((date.fromisoformat(d) - start).days / 365, float(a)) for d, a in flows]
    for guess in (0.1, 0.0, 0.5, -0.3, 2.0, -0.6, 10.0):
        x = guess
        for _ in range(200):
            value = sum(a * (1 + x) ** -t for t, a in f)
            slope = sum(-t * a * (1 + x) ** (-t - 1) for t, a in f)
            if slope == 0:
                break
            nxt = x - value / slope
            if nxt <= -1:
                nxt = (x - 1) / 2
            if abs(nxt - x) < 1e-14 * (1 + abs(x)):
                return nxt
            x = nxt
    raise ValueError("no rate")


def type7(values, p):
    v = sorted(values)
    h = (len(v) - 1) * p
    lo = math.floor(h + 1e-9)
    hi = min(lo + 1, len(v) - 1)
    return v[lo] + max(0.0, h - lo) * (v[hi] - v[lo])


def value(book):
    securities, cash = book.held(book.asof)
    nav = book.nav(book.asof)
    positions, hhi, hhi_sec, weights = [], D(0), D(0), []
    for s in sorted(securities):
        q, c = securities[s], CURRENCY[s]
        mv = book.worth(s, c, q, book.asof)
        lots = book.lots(s)
        assert sum(l[1] for l in lots) == q
        basis = sum(l[2] * rate(c, book.base, l[0]) for l in lots)
        weights.append(mv / nav)
        hhi_sec += (mv / nav) ** 2
        positions.append({
            "symbol": s, "quantity": format(q.normalize(), "f"), "currency": c,
            "price": str(PRICES[s].on(book.asof)), "fx_rate": float(rate(c, book.base, book.asof)),
            "market_value": float(mv), "weight": float(mv / nav),
            "cost_basis": float(basis), "unrealized_pnl": float(mv - basis), "lots": len(lots),
        })
    hhi = hhi_sec
    lines = []
    for c in sorted(cash):
        mv = cash[c] * rate(c, book.base, book.asof)
        hhi += (mv / nav) ** 2
        lines.append({"currency": c, "amount": float(cash[c]), "market_value": float(mv), "weight": float(mv / nav)})
    return {
        "total_value": float(nav), "positions": positions, "cash": lines,
        "concentration": {
            "hhi_with_cash": float(hhi), "hhi_securities": float(hhi_sec), "effective_n": float(1 / hhi),
            "top3_weight": float(sum(sorted(weights)[-3:])),
        },
    }


def measure(book, lookback, risk_free_annual, benchmark):
    days = book.days
    navs = [book.nav(d) for d in days]
    flows = [sum((a for _, a in book.flows(i)), D(0)) for i in range(len(days))]
    returns = [None] + [navs[i] / (navs[i - 1] + flows[i]) - 1 for i in range(1, len(days))]
    end = len(days) - 1
    start = max(0, end - lookback)
    window = range(start + 1, end + 1)
    r = [float(returns[i]) for i in window]
    n = len(r)

    growth = D(1)
    for i in window:
        growth *= 1 + returns[i]
    whole = D(1)
    for i in range(1, len(days)):
        whole *= 1 + returns[i]
    if risk_free_annual is None:
        rf = [RF.on(days[i]) for i in window]
    else:
        rf = [risk_free_annual / YEAR] * n
    excess = [a - b for a, b in zip(r, rf)]
    downside = math.sqrt(math.fsum(min(x, 0.0) ** 2 for x in excess) / n)

    wealth = [1.0]
    for x in r:
        wealth.append(wealth[-1] * (1 + x))
    falls = [1 - w / max(wealth[: k + 1]) for k, w in enumerate(wealth)]
    depth = max(falls)

    tail = type7(r, 0.05)
    beyond = [x for x in r if x <= tail]

    level = [PRICES[benchmark].on(days[i]) * rate(CURRENCY[benchmark], book.base, days[i]) for i in range(start, end + 1)]
    b = [float(y / x - 1) for x, y in zip(level, level[1:])]
    # Normal equations of the regression of r on b with an intercept.
    s1, sb, sr = n, math.fsum(b), math.fsum(r)
    sbb, sbr = math.fsum(x * x for x in b), math.fsum(x * y for x, y in zip(b, r))
    beta = (s1 * sbr - sb * sr) / (s1 * sbb - sb * sb)
    active = [x - y for x, y in zip(r, b)]
    te = statistics.stdev(active) * math.sqrt(YEAR)

    mwr_window = irr([(days[start], -navs[start])] + [(days[i], -flows[i]) for i in window if flows[i]] + [(days[end], navs[end])])
    mwr_all = irr([(days[i], -flows[i]) for i in range(len(days)) if flows[i]] + [(days[end], navs[end])])
    return {
        "twr": float(growth - 1), "twr_annualized": float(growth) ** (YEAR / n) - 1,
        "twr_since_inception": float(whole - 1), "mwr_window": mwr_window, "mwr_since_inception": mwr_all,
        "volatility": statistics.stdev(r) * math.sqrt(YEAR),
        "sharpe_ratio": statistics.mean(excess) / statistics.stdev(excess) * math.sqrt(YEAR) if len(set(excess)) > 1 else None,
        "sortino_ratio": statistics.mean(excess) / downside * math.sqrt(YEAR),
        "risk_free": {"source": "macro:FF_RF" if risk_free_annual is None else "input", "annual": statistics.mean(rf) * YEAR},
        "max_drawdown": depth, "max_drawdown_trough": days[start + falls.index(depth)],
        "var_95": -tail, "es_95": -statistics.mean(beyond),
        "benchmark": {
            "symbol": benchmark, "return": float(level[-1] / level[0] - 1), "beta": beta,
            "alpha": (statistics.mean(excess) - beta * statistics.mean(x - y for x, y in zip(b, rf))) * YEAR,
            "correlation": statistics.correlation(r, b), "tracking_error": te,
            "information_ratio": statistics.mean(active) * YEAR / te,
        },
        "window": {"start": days[start], "end": days[end], "returns": n},
    }


def attribute_period(book, since):
    """One period over the holdings at the start."""
    start = [d for d in book.days if d <= since][-1]
    end = book.days[-1]
    nav = book.nav(start)
    out, total = [], {"local": D(0), "fx": D(0), "interaction": D(0)}
    for (s, c), q in book.lines(start).items():
        w = book.worth(s, c, q, start) / nav
        rl = book.price(s, end) / book.price(s, start) - 1
        rx = rate(c, book.base, end) / rate(c, book.base, start) - 1
        part = {"local": w * rl, "fx": w * rx, "interaction": w * rl * rx}
        for k in total:
            total[k] += part[k]
        out.append({"symbol": s, "currency": c, "weight": float(w), "average_weight": float(w)} | {k: float(v) for k, v in part.items()})
    return {
        "total_return": float(sum(total.values())), "local_return": float(total["local"]), "fx_return": float(total["fx"]),
        "interaction": float(total["interaction"]), "costs": 0.0,
        "positions": sorted(out, key=lambda p: (p["symbol"].startswith("CASH:"), p["symbol"])),
        "window": {"start": start, "end": end},
    }


def attribute_linked(book, lookback):
    """Day by day, linked with Carino's coefficients."""
    days = book.days
    end = len(days) - 1
    first = max(0, end - lookback)
    log = []  # per day: (r, capital, [(symbol, currency, weight, local, fx, interaction)])
    for i in range(first + 1, end + 1):
        flows = book.flows(i)
        capital = book.nav(days[i - 1]) + sum((a for _, a in flows), D(0))
        r = book.nav(days[i]) / capital - 1
        parts = []
        for (s, c), q in book.lines(days[i - 1]).items():
            w = book.worth(s, c, q, days[i - 1]) / capital
            rl = book.price(s, days[i]) / book.price(s, days[i - 1]) - 1
            rx = rate(c, book.base, days[i]) / rate(c, book.base, days[i - 1]) - 1
            parts.append((s, c, w, w * rl, w * rx, w * rl * rx))
        parts += [("CASH:" + c, c, a / capital, D(0), D(0), D(0)) for c, a in flows]
        log.append((r, parts))
    growth = D(1)
    for r, _ in log:
        growth *= 1 + r
    total = growth - 1
    big_k = (1 + total).ln() / total
    nav = book.nav(days[first])
    start = {s: float(book.worth(s, c, q, days[first]) / nav) for (s, c), q in book.lines(days[first]).items()}
    lines, costs = {}, D(0)
    for r, parts in log:
        k = ((1 + r).ln() / r if r else D(1)) / big_k
        costs += k * (r - sum((p[3] + p[4] + p[5] for p in parts), D(0)))
        for s, c, w, rl, rx, x in parts:
            line = lines.setdefault((s, c), [D(0)] * 4)
            for j, v in enumerate((w / len(log), k * rl, k * rx, k * x)):
                line[j] += v
    sums = [sum((v[j] for v in lines.values()), D(0)) for j in range(4)]
    return {
        "total_return": float(total), "local_return": float(sums[1]), "fx_return": float(sums[2]),
        "interaction": float(sums[3]), "costs": float(costs),
        "positions": sorted(
            ({"symbol": s, "currency": c, "weight": start.get(s, 0.0), "average_weight": float(v[0]),
              "local": float(v[1]), "fx": float(v[2]), "interaction": float(v[3])} for (s, c), v in lines.items()),
            key=lambda p: (p["symbol"].startswith("CASH:"), p["symbol"])),
        "window": {"start": days[first], "end": days[end]},
    }


DEMO, USD, EUR = DATA / "demo_transactions.csv", HERE / "usd_mixed.csv", HERE / "eur_cross.csv"
CASES = [
    # name, ledger, base, benchmark, calendar, asof, lookback, risk-free rate, from
    ("sample", DEMO, "CHF", "LP40", "SBI", "2007-05-08", 252, None, None),
    ("sample, rate given, one period", DEMO, "CHF", "LP40", "SBI", "2007-05-08", 252, 0.02, "2006-05-19"),
    ("sample, since inception", DEMO, "CHF", "LP40", "SBI", "2007-05-08", 10000, None, "2005-01-03"),
    ("sample, around the flows of 2006", DEMO, "CHF", "SPI", "SBI", "2006-12-29", 210, None, "2006-02-25"),
    ("sample, a Sunday", DEMO, "CHF", "LP25", "SBI", "2005-10-02", 21, None, "2005-09-18"),
    ("USD base", USD, "USD", "LP40", "SBI", "2007-05-08", 252, None, "2006-05-19"),
    ("USD base, American calendar", USD, "USD", "USMKT", "USMKT", "2006-06-04", 400, 0.035, "2004-07-05"),
    ("USD base, all", USD, "USD", "LP60", "SBI", "2007-05-08", 9999, None, "2004-03-10"),
    ("EUR base, crosses", EUR, "EUR", "USMKT", "SBI", "2005-12-30", 504, None, "2003-01-01"),
    ("EUR base, gold calendar", EUR, "EUR", "SPI", "GOLD", "2004-02-29", 126, -0.001, "2002-06-15"),
]


def main():
    golden = []
    for name, ledger, base, benchmark, calendar, asof, lookback, risk_free, since in CASES:
        book = Book(ledger, base, calendar, asof)
        attribution = attribute_period(book, since) if since else attribute_linked(book, lookback)
        golden.append({
            "name": name, "ledger": ledger.name, "base_currency": base, "benchmark": benchmark, "calendar": calendar,
            "asof": asof, "lookback_days": lookback, "risk_free_annual": risk_free, "from": since,
            "valued_positions": value(book),
            "perf_metrics": measure(book, lookback, risk_free, benchmark),
            "currency_attr": attribution,
            "currency_attr_linked": attribute_linked(book, lookback),
        })
    json.dump(golden, sys.stdout, indent=1)
    print()


main()
