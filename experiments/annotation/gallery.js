// The gallery's rows: built as they come near the window, emptied as they leave it.
// All text of photographs, tags and labels goes through textContent, none through innerHTML.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const feed = document.getElementById("photos");
const form = document.forms[0];
const jpeg = (base64) => "data:image/jpeg;base64," + base64;
const percent = (share) => (100 * share).toFixed(share < 0.995 && share >= 0.0005 ? 1 : 0) + " %";
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
  const rows = photo.labels.map((label) => element("li", {}, labelButton(photo, label)));
  const lost = missed(photo);
  const right = element("div", {},
    element("ul", { className: "labels" }, ...rows),
    ...(photo.labels.length ? [] : [element("p", {}, "no label above the threshold")]),
    ...(photo.truth === null ? [] : [truth(photo, lost)]),
    tags(photo));
  const alt = `${photo.name}: ${names(given(photo)).join(", ") || "no label"}`;
  const facts = element("div", { className: "facts" }, picture(photo.image, alt, photo), right);
  photo.article.replaceChildren(photo.article.firstChild, facts, element("div"));
  explain(photo);
}

function picture(image, alt, size) {
  if (image === null) return element("div", { className: "blank" }, "no image");
  const { width, height } = size;
  return element("img", { src: jpeg(image), alt, width, height, decoding: "async" });
}

function labelButton(photo, label) {
  const mark = element("span", {});
  if (photo.truth !== null && label.probability >= least()) {
    const good = isTrue(photo, label.name);
    mark.className = good ? "right" : "wrong";
    mark.textContent = good ? "✓ correct" : "✗ wrong";
  }
  const button = element("button",
    { type: "button", className: label.probability >= least() ? "" : "pale" },
    element("span", {}, label.name),
    bar(label.probability),
    element("span", { className: "number" }, percent(label.probability)),
    mark);
  button.setAttribute("aria-pressed", label.name === photo.chosen);
  button.addEventListener("click", () => {
    photo.chosen = label.name;
    for (const other of photo.article.querySelectorAll("button"))
      other.setAttribute("aria-pressed", other === button);
    explain(photo);
  });
  return button;
}

function bar(share) {
  const fill = element("span", {});
  fill.style.width = 100 * Math.min(1, share) + "%";
  return element("div", { className: "bar", ariaHidden: "true" }, fill);
}

function truth(photo, lost) {
  const line = element("p", { className: "told" }, "ground truth: ");
  for (const name of photo.truth) {
    const known = data.asked.includes(name) ? "" : " (not in the model's labels)";
    const missing = lost.includes(name);
    line.append(element("span", { className: missing ? "wrong" : "" },
      name + (missing ? " ✗ missed" : known)));
  }
  if (!photo.truth.length) line.append("no label");
  return line;
}

function tags(photo) {
  const line = element("p", { className: "told" }, "tags: ");
  line.append(...photo.tags.map((tag) => element("span", {}, tag)));
  for (const tag of photo.unknown)
    line.append(element("span", { className: "unknown", title: "unknown to the model" },
      tag, element("span", { className: "unseen" }, " (unknown to the model)")));
  if (!photo.tags.length && !photo.unknown.length) line.append("none");
  return line;
}

// The contributions of the neighbours, the image and the tags to the chosen label.
function explain(photo) {
  const place = photo.article.lastChild;
  const { neighbours } = photo;
  if (!neighbours.length) return place.replaceChildren();
  const label = photo.labels.find((label) => label.name === photo.chosen);
  const shares = label ? label.shares : null;
  const sort = photo.by === "tags" ? "with the most similar tags" : "that look most similar";
  let line = `Training images ${sort}`;
  if (shares) {
    const all = shares.neighbours.reduce((sum, share) => sum + share, 0);
    line = `Score of “${label.name}”: image ${signed(shares.picture)}, ` +
      `tags ${signed(shares.tags)}, neighbours ${signed(all)}, ` +
      `bias ${signed(shares.constant)}. ${line}, with their contributions:`;
  } else if (label) line += ". Contributions are not available for LSTM models:";
  const order = neighbours.map((_, rank) => rank);
  if (shares && form.nearest.value === "gave")
    order.sort((one, other) => shares.neighbours[other] - shares.neighbours[one]);
  const most = shares ? Math.max(1e-9, ...shares.neighbours.map(Math.abs)) : 1;
  const list = element("ul", { className: "neighbours", tabIndex: 0 },
    ...order.map((rank) => neighbour(
      data.corpus[neighbours[rank].image], neighbours[rank].distance,
      shares ? shares.neighbours[rank] : null, most)));
  list.setAttribute("aria-label", "neighbours");
  place.replaceChildren(element("h3", {}, line), list);
}

function neighbour(image, distance, share, most) {
  const labels = image.labels.join(", ") || "no label";
  const card = image.image === null
    ? element("div", { className: "blank" }, image.id)
    : element("img",
      { src: jpeg(image.image), alt: `${image.id}: ${labels}`, decoding: "async" });
  const item = element("li", { className: share < 0 ? "against" : "" }, card);
  if (share !== null)
    item.append(bar(Math.abs(share) / most), element("b", {}, signed(share)), " · ");
  item.append(element("span", { title: "distance" },
    element("span", { className: "unseen" }, "distance "), distance.toFixed(2)));
  item.append(element("p", {}, labels), element("p", { className: "theirs" }, image.tags.join(" ")));
  return item;
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
  const all = [...counts].sort(([one], [other]) => (one < other ? -1 : 1));
  form.label.replaceChildren(
    element("option", { value: "" }, "all"),
    ...all.map(([name, count]) => element("option", { value: name }, `${name} (${count})`)));
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

form.least.value = data.least;
options();
show();
feed.ariaBusy = "false";
