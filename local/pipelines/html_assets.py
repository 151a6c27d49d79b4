"""Style and script of the pages, and the headers that allow these two and nothing else."""

from __future__ import annotations

import base64
import hashlib

REFRESH_SECONDS = 3

STYLE = """
:root { color-scheme: light dark; --ink: #1b1d20; --quiet: #565b61; --line: #7f858c66; --paper: #fff; --card: #f5f6f8;
  --link: #0b57a4; --ok: #0a6b30; --bad: #b3162f }
@media (prefers-color-scheme: dark) { :root { --ink: #e9eaec; --quiet: #a9afb6; --line: #8b929a66; --paper: #15171a;
  --card: #1f2226; --link: #8ec2ff; --ok: #68d391; --bad: #ff8b9c } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 0 1rem 3rem; color: var(--ink);
  background: var(--paper) }
a { color: var(--link); unicode-bidi: isolate }
a:focus-visible, svg a:focus-visible rect { outline: 2px solid var(--link); outline-offset: 2px }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: .8rem 0; border-bottom: 1px solid var(--line) }
h1 { margin: 1rem 0 .2rem; font-size: 1.6rem; overflow-wrap: anywhere }
h2 { margin: 1.8rem 0 .3rem; font-size: 1.2rem }
p { margin: .3rem 0 }
.scroll { overflow-x: auto; margin-top: .4rem }
table { border-collapse: collapse; width: 100% }
caption { text-align: left; color: var(--quiet); padding: .2rem 0 }
td, th { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
tbody th { font-weight: 400 }
.numbers { width: auto; min-width: min(36rem, 100%) }
.numbers thead th:not(:first-child), .n { text-align: right }
.numbers td:first-child { text-align: left }
tr:target { background: var(--card) }
.n { font-variant-numeric: tabular-nums }
.t { white-space: nowrap; font-variant-numeric: tabular-nums }
.wrap { overflow-wrap: anywhere }
td.wrap, tbody th { min-width: 9rem }
.numbers tbody th { min-width: 0 }
.quiet, .SKIPPED, .PENDING, .CANCELED { color: var(--quiet) }
.FAILED, #stale { color: var(--bad) }
.SUCCEEDED { color: var(--ok) }
.RUNNING, .CANCELING { color: var(--link) }
.state { white-space: nowrap }
.tag { border: 1px solid var(--line); border-radius: .3rem; padding: 0 .35rem; font-size: .85em; color: var(--quiet);
  white-space: nowrap }
pre, code { font-size: .92em; white-space: pre-wrap; overflow-wrap: anywhere }
pre { background: var(--card); padding: .6rem .8rem; border-radius: .4rem; margin: .4rem 0 }
.d1 { padding-left: 1.2rem } .d2 { padding-left: 2.4rem } .d3 { padding-left: 3.6rem } .d4 { padding-left: 4.8rem }
summary { cursor: pointer }
#stale { font-weight: 600 }
svg { display: block; font-size: 13px }
svg text { fill: var(--ink) }
svg .sub { fill: var(--quiet); font-size: 12px }
svg rect { fill: var(--card); stroke: var(--quiet); stroke-width: 1.2 }
svg .group > rect { fill: var(--paper) }
svg .dashed > rect { stroke-dasharray: 5 4 }
svg .FAILED > rect { stroke: var(--bad); stroke-width: 2.5 }
svg .edge { fill: none; stroke: var(--quiet); stroke-width: 1.5 }
svg .tip { fill: var(--quiet) }
svg .mark { fill: none; stroke: currentColor; stroke-width: 2 }
@media (max-width: 600px) { body { padding: 0 .7rem 2rem } h1 { font-size: 1.3rem } }
"""

SCRIPT = r"""
"use strict"
// The addresses that kfp.Client prints: what stands after # never reaches the server.
const leads = [
  [/^#\/runs\/details\/([\w-]+)/, found => `/runs/${found[1]}`],
  [/^#\/experiments\/details\/([\w-]+)/, found => `/experiments/${found[1]}`],
  [/^#\/pipelines\/details\/([\w-]+)\/version\/([\w-]+)/, found => `/pipelines/${found[1]}/versions/${found[2]}`],
  [/^#\/pipelines\/details\/([\w-]+)/, found => `/pipelines/${found[1]}`],
  [/^#\/(runs|experiments|pipelines)\/?$/, found => `/${found[1]}`],
  [/^#\/recurringruns?(\/|$)/, () => "/schedules"],
]
function follow() {
  for (const [form, lead] of leads) {
    const found = location.hash.match(form)
    if (found) return location.replace(lead(found))
  }
  const target = document.getElementById(location.hash.slice(1))
  if (target instanceof HTMLDetailsElement) {
    target.open = true
    target.querySelector("summary").focus()
  }
}
follow()
addEventListener("hashchange", follow)

const two = number => String(number).padStart(2, "0")
const hour = time => `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`
const day = time => `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`

// Times in the reader's zone.
function localise(root) {
  for (const shown of root.querySelectorAll("time[datetime]")) {
    const time = new Date(shown.dateTime)
    if (isNaN(time)) continue
    shown.title = shown.dateTime
    shown.textContent = shown.dataset.form === "hour" ? hour(time) : `${day(time)} ${hour(time)}`
  }
}
localise(document)

// What still changes is replaced in place; what somebody opened stays open, and the focus stays where it is.
let last = "", at = new Date()
function keyed(root, selector) {
  const found = new Map(), counts = new Map()
  for (const entry of root.querySelectorAll(selector)) {
    const owner = entry.id || entry.parentElement.closest("[id]")?.id || ""
    const count = (counts.get(owner) ?? 0) + 1
    counts.set(owner, count)
    found.set(`${owner} ${count}`, entry)
  }
  return found
}
function keep(main, next) {
  const before = keyed(main, "details"), moved = keyed(main, ".scroll"), kept = keyed(main, FOCUSABLE)
  main.replaceWith(next)
  for (const [key, entry] of keyed(next, "details")) entry.open = before.get(key)?.open ?? entry.open
  for (const [key, entry] of keyed(next, ".scroll")) entry.scrollLeft = moved.get(key)?.[LEFT] ?? 0
  for (const [key, entry] of keyed(next, FOCUSABLE))
    if (kept.get(key)?.[FOCUSED]) entry.focus({ preventScroll: true })
}
const FOCUSABLE = "a, summary, [tabindex]", LEFT = Symbol("left"), FOCUSED = Symbol("focused")
async function refresh() {
  const main = document.querySelector("main"), stale = document.getElementById("stale")
  if (!("changing" in main.dataset)) return
  try {
    const answer = await fetch(location.pathname + location.search, { cache: "no-store" })
    if (!answer.ok) throw new Error(answer.status)
    const text = await answer.text()
    at = new Date()
    stale.textContent = ""
    const next = text !== last && new DOMParser().parseFromString(text, "text/html").querySelector("main")
    last = text
    if (next) {
      localise(next)
      // Both are lost as soon as the element leaves the page.
      for (const entry of main.querySelectorAll(".scroll")) entry[LEFT] = entry.scrollLeft
      if (main.contains(document.activeElement)) document.activeElement[FOCUSED] = true
      keep(main, next)
    }
  } catch (error) {
    stale.textContent = `The server does not answer. This is how it was at ${hour(at)}.`
  }
  setTimeout(refresh, SECONDS * 1000)
}
setTimeout(refresh, SECONDS * 1000)
""".replace("SECONDS", str(REFRESH_SECONDS))


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Whatever a name or an error of a run holds, nothing but our own style and script is in force."""
