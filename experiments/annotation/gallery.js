// The gallery's rows: built as they come near the window, emptied as they leave it.
// All text of photographs, tags and labels goes through textContent, none through innerHTML.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const feed = document.getElementById("photos");
const form = document.forms[0];
const FEW = 6; // neighbours shown at first
const MANY = 40; // tags shown
const percent = (share) => (100 * share).toFixed(share < 0.9995 && share >= 0.0005 ? 1 : 0) + "\u00a0%";
const signed = (number) => (number < 0 ? "−" : "+") + Math.abs(number).toFixed(2);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// --- What a photograph has --------------------------------------------------------------

const least = () => form.least.value / 100;
const given = (photo) => photo.labels.filter((label) => label.probability >= least());
const names = (labels) => labels.map((label) => label.name);
const isTrue = (photo, name) => photo.truth !== null && photo.truth.includes(name);
// A label that the model does not know, or was not asked for, is nobody's error.
const missed = (photo) =>
  (photo.truth ?? []).filter(
    (name) => data.asked.includes(name) && !names(given(photo)).includes(name));
const wrong = (photo) =>
  photo.truth === null ? [] : names(given(photo)).filter((name) => !isTrue(photo, name));

function matches(photo) {
  const name = form.label.value, text = form.text.value.trim().toLowerCase();
  const errors = { wrong: wrong(photo), missed: missed(photo) };
  errors.any = [...errors.wrong, ...errors.missed];
  const wanted = form.errors?.value || null;
  if (wanted && !(name ? errors[wanted].includes(name) : errors[wanted].length)) return false;
  if (name && !names(given(photo)).includes(name) && !isTrue(photo, name)) return false;
  return !text || photo.text.includes(text);
}

function confidence(photo) {
  const name = form.label.value;
  const label = photo.labels.find((label) => !name || label.name === name);
  return label ? label.probability : 0;
}

// --- One photograph ---------------------------------------------------------------------

const built = new Set();

function build(photo) {
  built.add(photo);
  const told = photo.labels.some((label) => label.name === photo.chosen);
  if (!told) photo.chosen = (photo.labels[0] ?? {}).name;
  const unscored = missed(photo).filter((name) => !names(photo.labels).includes(name));
  const rows = [...photo.labels, ...unscored.map((name) => ({ name, probability: null }))];
  const right = element("div", {},
    element("ul", { className: "labels" },
      ...rows.map((label) => element("li", {}, labelRow(photo, label)))),
    ...(photo.labels.length ? [] : [element("p", {}, "no label reaches its threshold")]),
    ...truth(photo),
    tags(photo));
  const alt = `${photo.name}: ${names(given(photo)).join(", ") || "no label"}`;
  const facts = element("div", { className: "facts" }, picture(photo.image, alt, photo), right);
  photo.article.replaceChildren(photo.article.firstChild, facts, element("div"));
  explain(photo);
}

function picture(image, alt, size) {
  if (image === null) return element("div", { className: "blank" }, "photo not found");
  const { width, height } = size;
  return element("img", { src: image, alt, width, height, decoding: "async" });
}

// A label that was not given has no probability, so nothing can be told of its score.
function labelRow(photo, label) {
  const { name, probability } = label;
  const scored = probability !== null;
  const chosen = scored && probability >= least();
  const parts = [
    element("span", {}, name),
    scored ? bar(probability) : element("span", {}, "not given"),
    element("span", { className: "number" }, scored ? percent(probability) : ""),
    mark(photo, name, chosen)];
  const className = chosen ? "row" : "row pale";
  if (!scored || !data.explains) return element("div", { className }, ...parts);
  const button = element("button", { type: "button", className }, ...parts);
  button.setAttribute("aria-pressed", name === photo.chosen);
  button.addEventListener("click", () => {
    photo.chosen = name;
    for (const other of photo.article.querySelectorAll("button.row"))
      other.setAttribute("aria-pressed", other === button);
    explain(photo);
  });
  return button;
}

function mark(photo, name, chosen) {
  if (photo.truth === null || !(chosen || isTrue(photo, name))) return element("span", {});
  if (!chosen) return element("span", { className: "wrong" }, "✗ missed");
  return isTrue(photo, name)
    ? element("span", { className: "right" }, "✓ correct")
    : element("span", { className: "wrong" }, "✗ wrong");
}

function bar(share) {
  const fill = element("span", {});
  fill.style.width = 100 * Math.min(1, share) + "%";
  return element("div", { className: "bar", ariaHidden: "true" }, fill);
}

// Which labels are true the rows tell, but for those that could not be given.
function truth(photo) {
  const others = (photo.truth ?? []).filter((name) => !data.asked.includes(name));
  if (!others.length) return [];
  return [element("p", { className: "told" }, "true, but outside the label set: ",
    ...others.map((name) => element("span", {}, name)))];
}

function tags(photo) {
  const listed = (tags) => [
    ...tags.slice(0, MANY).map((tag) => element("span", {}, tag)),
    ...(tags.length > MANY ? [`and ${tags.length - MANY} more`] : [])];
  const line = element("p", { className: "told" }, "tags: ", ...listed(photo.tags));
  if (!photo.tags.length) line.append("none that the model knows");
  if (photo.unknown.length) line.append(" unknown to the model: ", ...listed(photo.unknown));
  return line;
}

// What the chosen label's score is made of, and the neighbours, nearest first.
function explain(photo) {
  const place = photo.article.lastChild;
  const label = photo.labels.find((label) => label.name === photo.chosen);
  const shares = label ? label.shares : null;
  const parts = [];
  if (shares) {
    const all = shares.neighbours.reduce((sum, share) => sum + share, 0);
    parts.push(element("p", { className: "sum" }, `Score for “${label.name}”: ` +
      `image ${signed(shares.picture)}, tags ${signed(shares.tags)}, ` +
      `neighbours ${signed(all)}, bias ${signed(shares.constant)} (log-odds)`));
  }
  if (photo.neighbours.length) parts.push(...cards(photo, label, shares));
  place.replaceChildren(...parts);
}

function cards(photo, label, shares) {
  const { neighbours } = photo;
  const alike = photo.by === "tags" ? "the most similar tags" : "the most similar look";
  const order = neighbours.map((_, rank) => rank);
  if (shares && form.nearest?.value === "gave")
    order.sort((one, other) => shares.neighbours[other] - shares.neighbours[one]);
  const sizes = shares ? shares.neighbours.map(Math.abs) : [];
  const most = Math.max(1e-9, ...sizes);
  const total = sizes.reduce((sum, size) => sum + size, 0) + (shares
    ? Math.abs(shares.picture) + Math.abs(shares.tags) + Math.abs(shares.constant) : 0);
  const given = shares ? (rank) => gave(label, shares.neighbours[rank], most, total) : () => [];
  const shown = photo.all ? order : order.slice(0, FEW);
  const list = element("ul", { className: "neighbours" },
    ...shown.map((rank) => card(photo, neighbours[rank], given(rank))));
  const text = `Neighbours: ${neighbours.length} training images with ${alike}` +
    (shares ? `. Percentages are parts of all contributions to the score for “${label.name}”; ` +
      "bars compare the neighbours." : "");
  if (order.length <= FEW) return [element("h3", {}, text), list];
  const more = element("button", { type: "button", className: "more" },
    photo.all ? "Show fewer neighbours" : `Show all ${order.length} neighbours`);
  more.addEventListener("click", () => {
    photo.all = !photo.all;
    explain(photo);
    photo.article.querySelector(".more").focus();
  });
  return [element("h3", {}, text), list, more];
}

function card(photo, near, given) {
  const image = data.corpus[near.image];
  const common = new Set(photo.tags.filter((tag) => image.tags.includes(tag)));
  const labels = image.labels.map((name) =>
    element("span", { className: data.explains && name === photo.chosen ? "chip same" : "chip" },
      name));
  const tags = image.tags.flatMap((tag) => [common.has(tag) ? element("mark", {}, tag) : tag, " "]);
  return element("li", {},
    ...(image.src ? [element("img", { src: image.src, alt: "", decoding: "async" })] : []),
    element("p", {}, element("small", {}, "labels "), ...(labels.length ? labels : ["none"])),
    element("p", {}, element("small", {}, "tags "), ...(tags.length ? tags : ["none"])),
    element("p", {}, ...likeness(photo, near.distance, common.size)),
    ...given,
    element("p", { className: "name" }, `image ${image.id}`));
}

// How near a neighbour is, in words with the number that they stand for.
function likeness(photo, distance, common) {
  const similar = `${(100 * Math.max(0, 1 - distance)).toFixed()}\u00a0%`;
  if (photo.by !== "tags") return [`looks ${similar} similar (cosine of CNN features)`];
  const shared = `${common || "none"} of ${photo.tags.length} tag${photo.tags.length === 1 ? "" : "s"} in common`;
  return [element("b", {}, shared), ` ${data.measure} similarity ${similar}`];
}

function gave(label, share, most, total) {
  const part = 100 * Math.abs(share) / total;
  const words = share === 0 ? "no effect on" :
    (part < 1 ? "under 1\u00a0%" : `${part.toFixed()}\u00a0%`) + (share < 0 ? " against" : " for");
  const line = element("p", { className: share < 0 ? "gave against" : "gave" },
    bar(Math.abs(share) / most), `${words} ${label.name}`);
  line.title = `contribution ${signed(share)} (log-odds)`;
  return [line];
}

function empty(photo) {
  if (photo.article.contains(document.activeElement)) return; // the focus would be lost
  built.delete(photo);
  photo.article.replaceChildren(photo.article.firstChild);
}

// --- All of them ------------------------------------------------------------------------

const photoOf = new WeakMap();
const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const photo = photoOf.get(target);
      if (isIntersecting && !built.has(photo)) build(photo);
      else if (!isIntersecting && built.has(photo)) empty(photo);
    }
  },
  { rootMargin: "1500px 0px" });

data.photos.forEach((photo, row) => {
  photo.text = [photo.name, ...photo.tags, ...photo.unknown].join("\n").toLowerCase();
  const heading = element("h2", { id: `h${row}` }, photo.name);
  photo.article = element("article", { tabIndex: -1 }, heading);
  photo.article.setAttribute("aria-labelledby", heading.id);
  photoOf.set(photo.article, photo);
  near.observe(photo.article);
});

function options() {
  const counts = new Map();
  for (const photo of data.photos)
    for (const name of new Set([...names(given(photo)), ...(photo.truth ?? [])]))
      counts.set(name, (counts.get(name) ?? 0) + 1);
  const chosen = form.label.value;
  if (chosen && !counts.has(chosen)) counts.set(chosen, 0);
  const all = [...counts].sort(([one], [other]) => (one < other ? -1 : 1)).map(
    ([name, count]) => element("option", { value: name }, `${name} (${count})`));
  const [ours, others] = [true, false].map(
    (known) => all.filter((option) => data.asked.includes(option.value) === known));
  form.label.replaceChildren(element("option", { value: "" }, "all"), ...ours,
    ...(others.length
      ? [element("optgroup", { label: "outside the label set" }, ...others)] : []));
  form.label.value = chosen;
}

function show() {
  const shown = data.photos.filter(matches);
  const order = { most: -1, least: 1 }[form.order.value];
  if (order) shown.sort((one, other) => order * (confidence(one) - confidence(other)));
  const name = form.label.value;
  for (const photo of data.photos) if (name) photo.chosen = name;
  shown.forEach(({ article }, place) => {
    article.setAttribute("aria-posinset", place + 1);
    article.setAttribute("aria-setsize", shown.length);
  });
  feed.replaceChildren(...shown.map((photo) => photo.article));
  for (const photo of [...built]) build(photo);
  document.getElementById("leastShown").textContent = `${form.least.value} %`;
  document.getElementById("count").textContent =
    `${shown.length} of ${data.photos.length} photos`;
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  if (event.target === form.least) options();
  show();
});

// As in every feed: Page Down and Page Up go from one photograph to the next.
feed.addEventListener("keydown", (event) => {
  const here = event.target.closest("article");
  const next = { PageDown: "nextElementSibling", PageUp: "previousElementSibling" }[event.key];
  const article = here && next ? here[next] : null;
  if (!article) return;
  event.preventDefault();
  article.focus();
  article.scrollIntoView({ block: "start" });
});

document.querySelector(".controls").open = matchMedia("(min-width: 641px)").matches;
form.least.value = data.least;
options();
show();
feed.ariaBusy = "false";
