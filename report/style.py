"""The report's style sheet: one column of panels and a grid of cards, by day and by night."""

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f5f2; --panel: #ffffff; --well: #eeece7; --line: #e2dfd8;
  --ink: #1f2328; --quiet: #6b7078; --accent: #2f6f73; --bar: #6fa3a2;
  --warn: #8a5a12; --warn-ground: #fbf2df; --warn-line: #ecd9ae; --bad: #a23b2c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15171a; --panel: #1d2024; --well: #262a2f; --line: #30353b;
    --ink: #e6e4df; --quiet: #989ea6; --accent: #7fc0bd; --bar: #4f8a89;
    --warn: #e6c27a; --warn-ground: #2a2416; --warn-line: #4a3d1d; --bad: #e58b7b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Inter, Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-font-smoothing: antialiased;
}
main { max-width: 1240px; margin: 0 auto; padding: 44px 28px 64px; }
h1 { font-size: 15px; font-weight: 600; margin: 0; color: var(--accent); }
h2 { font-size: 13px; font-weight: 600; margin: 44px 0 14px; color: var(--quiet); }
.subtitle { color: var(--quiet); font-size: 13px; margin: 2px 0 0; overflow-wrap: anywhere; }
.query { display: flex; flex-wrap: wrap; gap: 24px; align-items: center; margin: 30px 0 26px; }
.query p { font-size: 32px; line-height: 1.2; font-weight: 600; letter-spacing: -0.015em;
  margin: 0; flex: 1 1 420px; overflow-wrap: anywhere; white-space: pre-line; text-wrap: balance; }
.query img { max-height: 220px; max-width: 100%; border-radius: 10px;
  border: 1px solid var(--line); }
.note { color: var(--quiet); font-size: 14px; margin: 18px 0 0; }
.warning { background: var(--warn-ground); border: 1px solid var(--warn-line); color: var(--warn);
  border-radius: 10px; padding: 11px 16px; margin: 10px 0; font-size: 14px; }
.facts { display: flex; flex-wrap: wrap; gap: 12px 44px; margin: 26px 0 0; padding: 0; }
.facts div { min-width: 90px; }
.facts dt { font-size: 12px; color: var(--quiet); }
.facts dd { margin: 0; font-size: 22px; font-weight: 600; letter-spacing: -0.01em; }
.panel { background: var(--panel); border: 1px solid var(--line); border-radius: 12px;
  padding: 18px 20px; overflow-x: auto; }
.grid { display: grid; gap: 18px; grid-template-columns: repeat(auto-fill, minmax(212px, 1fr));
  list-style: none; margin: 0; padding: 0; }
.grid.small { gap: 10px; grid-template-columns: repeat(auto-fill, minmax(124px, 1fr)); }
.beside { display: grid; grid-template-columns: 1fr 1fr; gap: 0 36px; }
.beside .note { margin: -8px 0 14px; }
.marked { border-color: var(--accent); box-shadow: inset 0 0 0 2px var(--accent); }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 12px;
  overflow: hidden; display: flex; flex-direction: column; break-inside: avoid; }
.view { position: relative; aspect-ratio: 4 / 3; background: var(--well); overflow: hidden; }
.view img { width: 100%; height: 100%; object-fit: contain; display: block; padding: 10px; }
.view blockquote { margin: 0; padding: 38px 16px 0; height: 100%; overflow-wrap: anywhere;
  font: 13px/1.5 Georgia, "Times New Roman", serif;
  -webkit-mask-image: linear-gradient(#000 65%, transparent);
  mask-image: linear-gradient(#000 65%, transparent); }
.view .none { position: absolute; inset: 0; display: grid; place-items: center;
  color: var(--quiet); font-size: 13px; }
.rank { position: absolute; top: 10px; left: 10px; min-width: 26px; padding: 1px 8px;
  border-radius: 13px; background: var(--panel); border: 1px solid var(--line);
  font-size: 12.5px; font-weight: 600; text-align: center; }
.first .rank { background: var(--accent); border-color: var(--accent); color: var(--panel); }
.tag { position: absolute; right: 10px; bottom: 10px; padding: 1px 8px; border-radius: 6px;
  background: var(--panel); border: 1px solid var(--line); font-size: 11px; color: var(--quiet); }
.words { padding: 12px 14px 14px; display: flex; flex-direction: column; gap: 8px; flex: 1; }
.id { font-size: 12.5px; line-height: 1.4; overflow-wrap: anywhere; flex: 1;
  display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }
.numbers { display: flex; justify-content: space-between; font-size: 12.5px; color: var(--quiet); }
.numbers b { color: var(--ink); font-weight: 600; }
.meter { height: 5px; border-radius: 3px; background: var(--well); overflow: hidden; }
.meter i { display: block; height: 100%; background: var(--accent); border-radius: 3px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { padding: 7px 14px 7px 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 500; color: var(--quiet); font-size: 12.5px; }
tbody tr:last-child td { border-bottom: 0; }
tr.total td { font-weight: 600; }
.failed td { text-align: left; vertical-align: top; overflow-wrap: anywhere; }
.failed td:last-child { color: var(--bad); }
svg { display: block; width: 100%; height: auto; }
svg rect { fill: var(--bar); }
svg rect.first { fill: var(--accent); }
svg line { stroke: var(--line); }
svg text { fill: var(--quiet); font-size: 11px; }
footer { margin-top: 44px; color: var(--quiet); font-size: 12.5px; }
@media print { body { background: #fff; } main { max-width: none; padding: 0; } }
"""
"""CSS, to be put inline: the report opens without a network."""
