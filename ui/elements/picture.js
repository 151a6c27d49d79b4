// Draws the parts of the loop and the arrows between them. Texts are set by textContent, addresses are our own pages'.
const SVG = "http://www.w3.org/2000/svg";
const SIGNS = { good: "✓", bad: "✗", wait: "…", sleep: "☾", unknown: "?", none: "–" };
const NARROW_BELOW = 720;
const WIDE = { node: [132, 58], pitch: [246, 112], margin: [14, 10] };
const TALL = { node: [272, 54], pitch: 86, left: 34, width: 340 };

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function text(content, attributes) {
  const made = svg("text", attributes);
  made.textContent = content;
  return made;
}

function box(node, place, narrow) {
  if (narrow) return { x: TALL.left, y: 2 + place * TALL.pitch, w: TALL.node[0], h: TALL.node[1] };
  const [w, h] = WIDE.node;
  return { x: WIDE.margin[0] + node.column * WIDE.pitch[0], y: WIDE.margin[1] + node.row * WIDE.pitch[1], w, h };
}

function drawn(node, { x, y, w, h }) {
  const parts = [
    svg("rect", { x, y, width: w, height: h, rx: 9 }),
    text(node.title, { x: x + 12, y: y + 24, class: "title" }),
    ...(node.state ? [text(`${SIGNS[node.kind]} ${node.state}`, { x: x + 12, y: y + 44, class: "state" })] : []),
  ];
  const attributes = { class: `node ${node.kind}`, "data-name": node.name };
  if (!/^\/(?!\/)/.test(node.href)) {
    return svg("g", { ...attributes, role: "img", "aria-label": node.described }, ...parts);
  }
  const address = new URL(node.href, document.baseURI);
  if (address.origin !== window.location.origin) {
    return svg("g", { ...attributes, role: "img", "aria-label": node.described }, ...parts);
  }
  const lang = new URLSearchParams(window.location.search).get("lang");
  if (lang) address.searchParams.set("lang", lang);
  const made = svg("a", { ...attributes, href: address.href, "aria-label": node.described }, ...parts);
  return made;
}

// From border to border on the line between the middles.
function border(from, to) {
  const [cx, cy] = [from.x + from.w / 2, from.y + from.h / 2];
  const [dx, dy] = [to.x + to.w / 2 - cx, to.y + to.h / 2 - cy];
  const scale = Math.min(dx ? (from.w / 2 + 3) / Math.abs(dx) : Infinity, dy ? (from.h / 2 + 3) / Math.abs(dy) : Infinity);
  return [cx + dx * scale, cy + dy * scale];
}

function labelled(label, x, y, anchor) {
  return label ? [text(label, { x, y, class: "label", "text-anchor": anchor })] : [];
}

function straight(arrow, from, to) {
  const [[x1, y1], [x2, y2]] = [border(from, to), border(to, from)];
  const vertical = Math.abs(x1 - x2) < 1;
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const spot = vertical ? labelled(arrow.label, x + 8, y + 4, "start") : labelled(arrow.label, x, y - 7, "middle");
  return [svg("path", { d: `M${x1} ${y1}L${x2} ${y2}`, "marker-end": "url(#mcqa-arrow)" }), ...spot];
}

// Around the parts between, on the side that is free.
function around(arrow, from, to) {
  const up = to.y < from.y;
  const side = up ? from.x + from.w : from.x;
  const out = up ? side + 26 : side - 26;
  const [y1, y2] = [from.y + from.h / 2 + (up ? -8 : 8), to.y + to.h / 2 + (up ? 8 : -8)];
  const end = up ? side + 4 : side - 4;
  const middle = (y1 + y2) / 2;
  const line = svg("path", { d: `M${side} ${y1}C${out} ${y1} ${out} ${y1} ${out} ${y1 + (up ? -26 : 26)}L${out} ${y2 + (up ? 26 : -26)}C${out} ${y2} ${out} ${y2} ${end} ${y2}`, "marker-end": "url(#mcqa-arrow)" });
  const turned = { x: out, y: middle, class: "label", "text-anchor": "middle", transform: `rotate(${up ? 90 : -90} ${out} ${middle}) translate(0 14)` };
  return [line, ...(arrow.label ? [text(arrow.label, turned)] : [])];
}

function draw(data, narrow) {
  const places = new Map(data.nodes.map((node, place) => [node.name, place]));
  const boxes = new Map(data.nodes.map((node, place) => [node.name, box(node, place, narrow)]));
  const arrows = data.arrows.filter((arrow) => !(narrow && arrow.wide)).map((arrow) => {
    const [from, to] = [boxes.get(arrow.source), boxes.get(arrow.target)];
    const next = places.get(arrow.target) === places.get(arrow.source) + 1;
    const shape = narrow && !next ? around(arrow, from, to) : straight(arrow, from, to);
    return svg("g", { class: arrow.strong ? "arrow strong" : "arrow", "aria-hidden": "true" }, ...shape);
  });
  const head = svg("marker", { id: "mcqa-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 11, markerHeight: 11, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" }, svg("path", { d: "M0 0L8 4L0 8z" }));
  const size = narrow
    ? [TALL.width, data.nodes.length * TALL.pitch - TALL.pitch + TALL.node[1] + 4]
    : [2 * WIDE.margin[0] + 4 * WIDE.pitch[0] + WIDE.node[0], 2 * WIDE.margin[1] + 3 * WIDE.pitch[1] + WIDE.node[1]];
  const centre = [WIDE.margin[0] + 2 * WIDE.pitch[0] + WIDE.node[0] / 2, WIDE.margin[1] + 1.5 * WIDE.pitch[1] + WIDE.node[1] / 2];
  const middle = narrow ? [] : data.middle.map((line, place) =>
    text(line, { x: centre[0], y: centre[1] + 6 + 24 * (place - (data.middle.length - 1) / 2), class: place ? "middle" : "middle first", "text-anchor": "middle" }));
  return svg(
    "svg", { viewBox: `0 0 ${size[0]} ${size[1]}`, role: "group", "aria-label": data.described, class: narrow ? "narrow" : "wide" },
    svg("defs", {}, head), ...arrows, ...middle, ...data.nodes.map((node) => drawn(node, boxes.get(node.name))),
  );
}

export default function ({ data, parentElement }) {
  let root = parentElement.querySelector(":scope > .mcqa-picture");
  if (!root) {
    root = document.createElement("div");
    root.className = "mcqa-picture";
    parentElement.append(root);
  }
  const told = JSON.stringify(data);
  function show() {
    const narrow = root.clientWidth < NARROW_BELOW;
    const version = `${narrow} ${window.location.search} ${told}`;
    if (!root.clientWidth || root.dataset.version === version) return;
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.name : undefined;
    root.lang = data.lang;
    root.dataset.version = version;
    root.replaceChildren(draw(data, narrow));
    // Whoever was on a part stays there.
    if (focused) root.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
  const observer = new ResizeObserver(show);
  observer.observe(root);
  show();
  return () => observer.disconnect();
}
