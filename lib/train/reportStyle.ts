/** The look of the report: plain, dense, light or dark as the reader's system is, and one column on a phone. */
export const reportStyle = `
:root {
  --page: #f6f7f9; --card: #fff; --ink: #1b1f26; --muted: #606a79; --rule: #e3e6eb;
  --series-1: #2563eb; --series-2: #d9730d; --series-3: #0f8a5f; --series-4: #8b3fc7;
  --series-5: #c2255c; --series-6: #0c8599; --series-7: #6b7280; --series-8: #a16207;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151a; --card: #1a1e25; --ink: #e7eaf0; --muted: #98a2b3; --rule: #2b313b;
    --series-1: #6ea0ff; --series-2: #ffa454; --series-3: #4fce9d; --series-4: #c391f5;
    --series-5: #ff7eb0; --series-6: #5fd0e0; --series-7: #9aa3b2; --series-8: #e0b64c;
  }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 1060px; margin: 0 auto; padding: 28px 20px 40px }
h1 { margin: 0; font-size: 26px; line-height: 1.2; letter-spacing: -.01em; overflow-wrap: anywhere }
h2 { margin: 30px 0 12px; font-size: 17px }
h3 { margin: 0 0 10px; font-size: 15px }
p { margin: 6px 0 0 }
.muted { color: var(--muted) }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px; margin: 0 }
.card + .card { margin-top: 14px }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 12px; margin-top: 20px }
.tiles .card, .charts .card { margin: 0 }
.tile { display: flex; flex-direction: column; padding: 12px 16px; font-size: 13px }
.tile b { font-size: 22px; font-weight: 600; line-height: 1.35; font-variant-numeric: tabular-nums }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 14px }
figcaption { display: flex; flex-wrap: wrap; gap: 2px 16px; align-items: baseline; margin-bottom: 8px }
.key { display: inline-flex; align-items: center; gap: 6px; font-size: 13px; color: var(--muted) }
.key i { width: 14px; height: 3px; border-radius: 2px }
i.series-1 { background: var(--series-1) } i.series-2 { background: var(--series-2) }
i.series-3 { background: var(--series-3) } i.series-4 { background: var(--series-4) }
i.series-5 { background: var(--series-5) } i.series-6 { background: var(--series-6) }
i.series-7 { background: var(--series-7) } i.series-8 { background: var(--series-8) }
svg { display: block; width: 100%; height: auto; font: 11.5px system-ui, -apple-system, "Segoe UI", sans-serif }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
svg .grid { stroke: var(--rule) } svg .axis { stroke: var(--muted); stroke-opacity: .6 }
svg .label { fill: var(--muted) } svg .marked { fill: var(--ink); font-weight: 600; paint-order: stroke; stroke: var(--card); stroke-width: 4px }
svg .mark { fill: var(--card); stroke-width: 2.5 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: 8px 18px 8px 0; text-align: left; border-bottom: 1px solid var(--rule); white-space: nowrap; vertical-align: top }
th:last-child, td:last-child { padding-right: 0 }
tbody tr:last-child > * { border-bottom: 0 }
thead th { color: var(--muted); font-weight: 500; font-size: 13px }
tbody th { font-weight: 600 }
td small { display: block; font-size: 12px }
td.words { white-space: normal; min-width: 260px }
.verdict-pass { color: var(--series-3); font-weight: 600 }
.verdict-FAIL { color: var(--series-5); font-weight: 600 }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 0 28px }
.facts div { display: flex; justify-content: space-between; gap: 16px; padding: 5px 0; border-bottom: 1px solid var(--rule) }
.facts dt { color: var(--muted) }
.facts dd { margin: 0; text-align: right; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
footer { margin-top: 28px; font-size: 13px }
@media (max-width: 520px) { main { padding: 20px 14px 32px } h1 { font-size: 22px } .card { padding: 12px } }
@media print { body { background: #fff } .card { break-inside: avoid } }
`
