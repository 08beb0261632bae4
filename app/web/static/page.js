"use strict";
// The page: sends an image to /search and shows its neighbours. Everything it knows is in `state`.

const K = 10;
const KEY_NAME = "sonoseek-key";
const LEAST_SIDE = 16; // a smaller box is a click and not a drag; the service takes none
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const KINDS = {
  organ: "Organ",
  organ_group: "Organ group",
  plane: "Plane",
  diagnoses: "Diagnosis",
  diagnosis_groups: "Diagnosis group",
  findings: "Finding",
};
const REGION_SOURCES = {
  dicom: "from the DICOM header",
  detected: "found by the service",
  given: "chosen by you",
  full_frame: "the scan fills the picture",
  none: "no scan region was found",
};
const FORMATS = { png: "PNG", jpeg: "JPEG", webp: "WebP", bmp: "BMP", tiff: "TIFF", dicom: "DICOM" };

const state = {
  file: null,
  answer: null, // of the search by `file`
  stale: false, // whether labels or filters have changed since
  region: null, // [x0, y0, x1, y1] chosen by the user, null: the service finds it
  size: null, // [width, height] of the picture before cropping
  corner: null, // where a box begins while it is drawn
  opening: null, // promise of the page's first job
  job: null, // AbortController of what runs
  patientSearched: false,
  searchedPatient: "", // whom the last search by `file` left out
  shown: null, // {reference, answer} of the library image that is shown
  trail: [], // the views behind and with the present one: {id, title}, id null for the image
  references: new Map(), // id and filters -> {reference, answer}
  versions: new Map(), // name of a library -> the version whose size is shown
  pictures: new Map(), // path -> promise of a blob URL
  queryUrl: null,
  stageUrl: null,
  asking: null, // promise of the key dialog while it is open
};

const $ = (id) => document.getElementById(id);

document.addEventListener("DOMContentLoaded", start);

function start() {
  listenToForm();
  listenToDrops();
  listenToStage();
  $("cancel").addEventListener("click", () => state.job?.abort());
  $("forget-key").addEventListener("click", forgetKey);
  window.addEventListener("hashchange", followFragment);
  showKeyState();
  state.opening = attempt("Loading", openPage);
}

async function openPage(job) {
  showLibraries(await whenReady(job));
  await learnWhetherWritable(job);
  if (referenceInFragment()) await showReference(referenceInFragment(), job);
}

// Jobs: one at a time, each can be cancelled, each ends with an answer or a readable problem.

async function attempt(text, work) {
  state.job?.abort();
  const job = new AbortController();
  state.job = job;
  showProblem(null);
  showProgress(`${text}…`);
  try {
    await work(job);
  } catch (error) {
    if (!job.signal.aborted) showProblem(error);
    else if (state.job === job) say("Cancelled.");
  } finally {
    if (state.job === job) endJob();
  }
}

function endJob() {
  state.job = null;
  $("busy").hidden = true;
  document.body.removeAttribute("aria-busy");
}

function showProgress(text, part = null) {
  $("busy").hidden = false;
  document.body.setAttribute("aria-busy", "true");
  if (part === null) $("progress").removeAttribute("value");
  else $("progress").value = part;
  $("progress-text").textContent = text;
  if (part === null) say(text);
}

function say(text) {
  $("status").textContent = text;
}

function showProblem(error) {
  $("problem").hidden = error === null;
  if (error === null) return;
  const problem = error instanceof Problem ? error : brokenPage(error);
  $("welcome").hidden = true;
  $("query-figure").hidden ||= $("query-picture").hidden;
  $("problem-detail").textContent = sentence(problem.detail);
  $("problem-hint").textContent = problem.hint ? `What you can do: ${problem.hint}.` : "";
  $("problem-code").textContent = [problem.code, problem.request_id].filter(Boolean).join(" · ");
  say("");
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

// Talking to the service

class Problem extends Error {
  constructor(body) {
    super(body.code);
    Object.assign(this, body);
  }
}

function brokenPage(error) {
  console.error(error);
  return new Problem({ code: "page_error", detail: "this page made a mistake", hint: "reload it and try again" });
}

function noAnswer() {
  const hint = "check that it runs and can be reached; a file over its size limit can end a connection too";
  return new Problem({ code: "no_answer", detail: "the service did not answer", hint });
}

async function ask(path, { job, form = null, json = null, method = null, onUpload = null } = {}) {
  const body = json ? JSON.stringify(json) : form;
  for (;;) {
    const key = sessionStorage.getItem(KEY_NAME);
    const reply = await exchange(path, { job, body, isJson: json !== null, method, onUpload, key });
    if (reply.status < 400) return reply;
    const problem = await readProblem(reply);
    if (reply.status !== 401) throw problem;
    await askForKey(problem, key);
  }
}

function exchange(path, { job, body, isJson, method, onUpload, key }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch cannot tell how far an upload is
    request.open(method ?? (body ? "POST" : "GET"), path);
    request.responseType = "blob";
    if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
    if (isJson) request.setRequestHeader("Content-Type", "application/json");
    if (onUpload) request.upload.onprogress = onUpload;
    request.onload = () => resolve(request);
    request.onerror = () => reject(noAnswer());
    request.onabort = () => reject(noAnswer());
    job?.signal.addEventListener("abort", () => request.abort());
    if (job?.signal.aborted) reject(noAnswer());
    else request.send(body);
  });
}

async function readProblem(reply) {
  try {
    return new Problem(JSON.parse(await reply.response.text()));
  } catch {
    return new Problem({ code: `http_${reply.status}`, detail: `the service answered ${reply.status}`, hint: "" });
  }
}

async function askJson(path, options) {
  const reply = await ask(path, options);
  return JSON.parse(await reply.response.text());
}

async function whenReady(job) {
  for (;;) {
    try {
      return await askJson("/libraries", { job });
    } catch (error) {
      if (error.code !== "starting") throw error;
      showProgress("The service is starting…");
      await new Promise((resolve) => setTimeout(resolve, 700));
    }
  }
}

function pictureUrl(path) {
  if (!state.pictures.has(path)) {
    const url = ask(path).then((reply) => URL.createObjectURL(reply.response));
    url.catch(() => state.pictures.delete(path));
    state.pictures.set(path, url);
  }
  return state.pictures.get(path);
}

function fillPicture(image, path) {
  pictureUrl(path).then(
    (url) => (image.src = url),
    () => (image.alt += " (the picture could not be loaded)"),
  );
}

// The key: kept in this tab, asked for once however many requests need it

function askForKey(problem, refused) {
  const present = sessionStorage.getItem(KEY_NAME);
  if (present && present !== refused) return Promise.resolve(); // given meanwhile
  state.asking ??= openKeyDialog(problem).finally(() => (state.asking = null));
  return state.asking;
}

function openKeyDialog(problem) {
  return new Promise((resolve, reject) => {
    const dialog = $("key-dialog");
    sessionStorage.removeItem(KEY_NAME); // it was refused
    $("key-problem").hidden = problem.code !== "wrong_key";
    $("key-problem").textContent = sentence(problem.detail);
    $("key").value = "";
    let given = false;
    $("key-cancel").onclick = () => dialog.close();
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY_NAME, $("key").value.trim());
      given = true;
      dialog.close();
    };
    dialog.onclose = () => {
      showKeyState();
      if (given) resolve();
      else reject(new Problem({ ...problem, hint: "reload this page to be asked for the key again" }));
    };
    dialog.showModal();
  });
}

function showKeyState() {
  $("forget-key").hidden = !sessionStorage.getItem(KEY_NAME);
}

function forgetKey() {
  sessionStorage.removeItem(KEY_NAME);
  location.reload();
}

// Choosing an image

function listenToForm() {
  $("file").addEventListener("change", () => take($("file").files));
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (state.file) search();
  });
  $("library").addEventListener("change", () => state.file && search());
  $("drop-region").addEventListener("click", searchWithoutRegion);
  $("region-panel").addEventListener("toggle", () => $("region-panel").open && showStage());
}

function listenToDrops() {
  const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!carriesFile(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
}

function take(files) {
  if (!files.length) return;
  state.file = files[0];
  $("file").value = ""; // so that the same file can be chosen again
  forgetImage();
  showQueryPanel();
  search();
}

function forgetImage() {
  Object.assign(state, { answer: null, region: null, size: null, corner: null });
  labels.where = [];
  if (state.patientSearched) $("patient").value = ""; // another image, another patient
  state.patientSearched = false;
  $("frame").value = "";
  $("frame-field").hidden = true;
  $("region-panel").open = false;
  $("stage").hidden = true;
  showEdges([]);
  state.stageUrl = replaceUrl(state.stageUrl, null);
  $("query-facts").hidden = $("query-notes").hidden = $("results").hidden = $("add-panel").hidden = true;
  showOwnPicture();
}

async function showOwnPicture() {
  const file = state.file;
  const url = await showable(file);
  if (state.file !== file || state.answer) return;
  state.queryUrl = replaceUrl(state.queryUrl, url);
  $("query-figure").hidden = false;
  $("query-picture").hidden = url === null;
  if (url) $("query-picture").src = url;
  $("query-picture").alt = "Your image";
  $("query-caption").textContent = url ? "Your image" : "A browser cannot show this format by itself.";
}

async function showable(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
    return image.src;
  } catch {
    return replaceUrl(image.src, null);
  }
}

function replaceUrl(old, url) {
  if (old) URL.revokeObjectURL(old);
  return url;
}

// Searching

async function search() {
  await state.opening; // whoever is quick must not cut off what tells which libraries there are, and whether they change
  if (libraryIsOpen()) return askForLibrary();
  location.hash && history.pushState(null, "", location.pathname);
  return attempt("Searching", async (job) => {
    const file = state.file;
    const patient = $("patient").value.trim();
    const answer = await askJson(`/search?${searchParameters()}`, { job, form: imageForm(true), onUpload: showUpload });
    if (state.file !== file) return;
    state.answer = answer;
    state.stale = false;
    state.size = [answer.query.width, answer.query.height];
    state.searchedPatient = patient;
    state.patientSearched = patient !== "";
    showQueryAnswer();
    await showCrop(job);
  });
}

function libraryIsOpen() {
  return !$("library-field").hidden && !$("library").value;
}

function askForLibrary() {
  say("Choose the library to search.");
  $("library").focus();
}

function searchParameters() {
  const parameters = imageParameters(state.region);
  parameters.set("k", K);
  parameters.set("max_per_patient", 1);
  if ($("library").value) parameters.set("library", $("library").value);
  return addFilters(parameters);
}

function imageParameters(region) {
  const parameters = new URLSearchParams();
  if ($("frame").value) parameters.set("frame", $("frame").value);
  if (region) parameters.set("region", region.join(","));
  return parameters;
}

function imageForm(withPatient) {
  const form = new FormData();
  form.append("image", state.file, "image"); // a file's own name may be a patient's
  if (withPatient && $("patient").value.trim()) form.append("exclude_patient_id", $("patient").value);
  return form;
}

function showUpload(event) {
  if (event.loaded >= event.total) showProgress("Searching…");
  else showProgress(`Uploading, ${megabytes(event.loaded)} of ${megabytes(event.total)} MB`, event.loaded / event.total);
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

async function showCrop(job) {
  const reply = await ask(`/frame?${imageParameters(state.region)}`, { job, form: imageForm(false) });
  state.queryUrl = replaceUrl(state.queryUrl, URL.createObjectURL(reply.response));
  $("query-picture").src = state.queryUrl;
  $("query-picture").alt = "Your image as it was searched, cropped to the scan region";
  $("query-figure").hidden = $("query-picture").hidden = false;
  $("query-caption").textContent = "Your image as it was searched";
  showFrames(Number(reply.getResponseHeader("X-Frames")));
}

function showFrames(count) {
  $("frame-field").hidden = count < 2;
  $("frame").max = count;
  $("frame-count").textContent = `(1 to ${count})`;
}

// What the service understood of the image

function showQueryPanel() {
  state.trail = [{ id: null, title: "Your image" }];
  document.body.dataset.stage = state.file ? "query" : "empty";
  $("query-panel").hidden = false;
  $("reference-panel").hidden = true;
  $("welcome").hidden = Boolean(state.file);
  $("search").hidden = $("region-panel").hidden = !state.file;
  showTrail();
}

function showQueryAnswer() {
  const { query, scope } = state.answer;
  showQueryPanel();
  showFacts($("query-facts"), queryFacts(query));
  showNotes($("query-notes"), [...scope.warnings, ...ownNotes(query)]);
  if (query.frame !== null) $("frame").value = query.frame;
  showEdges(state.region ?? query.region ?? [0, 0, query.width, query.height]);
  showAdding(state.answer);
  showResults(state.answer, "your image");
}

function queryFacts(query) {
  const format = FORMATS[query.format] ?? query.format;
  const region = query.region ? `${query.region.join(", ")} (${REGION_SOURCES[query.region_source]})` : null;
  return {
    Image: `${format}, ${query.width} × ${query.height} pixels`,
    Frame: query.frame,
    Region: region ?? REGION_SOURCES[query.region_source],
    "Same patient": query.patient_excluded ? "left out" : "not known, so not left out",
  };
}

function ownNotes(query) {
  return query.reference_id ? ["This image is in the library itself and was left out."] : [];
}

function showFacts(list, facts) {
  const known = Object.entries(facts).filter(([, value]) => value !== null && value !== "");
  list.replaceChildren(...known.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  list.hidden = false;
}

function showNotes(list, notes) {
  list.replaceChildren(...notes.map((note) => element("li", sentence(note))));
  list.hidden = notes.length === 0;
}

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

// The results: a gallery and what its labels have in common

function showResults(answer, shown) {
  const count = answer.neighbours.length;
  const verb = count === 1 ? "looks" : "look";
  const title = count ? `${counted(count, "library image")} that ${verb} most like ${shown}` : "No library image can be shown";
  $("results").hidden = false;
  $("welcome").hidden = true;
  $("results-title").textContent = title;
  $("results-note").textContent = count ? resultsNote(answer.query) : "";
  $("gallery").replaceChildren(...answer.neighbours.map((neighbour) => neighbourCard(neighbour, answer.library.name)));
  showFilters();
  showEvidence(answer.evidence, count);
  showNotes($("unavailable"), Object.entries(answer.unavailable).map(([name, why]) => `${scoreName(name)}: ${why}`));
  $("source").textContent = sourceLine(answer);
  showSize(answer.library);
  say(`${title}.`);
}

function resultsNote({ patient_excluded }) {
  const own = patient_excluded ? ", none of the same patient" : "";
  return `Nearest first, at most one of each patient${own}. Choose a picture to search from it.`;
}

function sourceLine({ library, encoder, index, timings_ms }) {
  const time = timings_ms.total === undefined ? "" : ` in ${Math.round(timings_ms.total)} ms`;
  return `Library ${library.name}, version ${library.version}, ${counted(library.size, "image")}; encoder ${encoder.name}, engine ${index.engine}${time}.`;
}

function neighbourCard(neighbour, library) {
  const card = $("neighbour-template").content.cloneNode(true);
  const link = card.querySelector("a");
  const image = card.querySelector("img");
  link.href = `#reference=${neighbour.reference_id}`;
  image.alt = `Library image ${neighbour.rank}: ${titleOf(neighbour)}`;
  fillPicture(image, neighbour.image);
  card.querySelector(".rank").textContent = neighbour.rank;
  card.querySelector(".labels").append(...labelLines(neighbour.labels));
  card.querySelector(".figures").append(...figures(neighbour));
  card.querySelector(".origin").textContent = origin(neighbour);
  if (labels.writes) card.querySelector(".card").append(correctButton(neighbour, library));
  return card;
}

function titleOf({ labels, external_id }) {
  return labels.organ ?? labels.organ_group ?? labels.plane ?? external_id ?? "not labelled";
}

function labelLines({ organ, organ_group, plane, diagnoses, findings }) {
  const lines = [];
  if (organ) lines.push(labelLine("organ", organ));
  for (const name of diagnoses) lines.push(labelLine("diagnoses", name, "diagnosis"));
  if (!lines.length && organ_group) lines.push(labelLine("organ_group", organ_group));
  if (!lines.length && plane) lines.push(labelLine("plane", plane));
  if (!lines.length) lines.push(element("p", "Library label: none"));
  const place = [organ && organ_group && ["organ_group", organ_group], organ && plane && ["plane", plane]].filter(Boolean);
  if (place.length) lines.push(labelRow("", place, " · "));
  if (findings.length) lines.push(labelRow("Findings: ", findings.map((name) => ["findings", name]), ", "));
  return lines;
}

function labelLine(kind, name, word = "") {
  const line = element("p", "Library label: ");
  line.append(labelButton(kind, name), word ? ` (${word})` : "");
  return line;
}

function labelRow(text, items, between) {
  const row = element("p", text, "hint");
  items.forEach(([kind, name], position) => row.append(position ? between : "", labelButton(kind, name)));
  return row;
}

function figures({ distance, scores }) {
  const rows = [["Distance", distance.toFixed(3)]];
  for (const [name, value] of Object.entries(scores)) rows.push([scoreName(name), scoreText(name, value)]);
  return rows.map(([name, value]) => {
    const row = document.createElement("div");
    row.append(element("dt", name), element("dd", value));
    return row;
  });
}

function scoreName(name) {
  return { histogram: "Histogram", mse: "MSE", dreamsim: "DreamSim" }[name] ?? name;
}

function scoreText(name, value) {
  if (value === null) return "—";
  if (name === "dreamsim") return value.distance.toFixed(3);
  return name === "mse" ? Math.round(value).toLocaleString("en") : value.toFixed(2);
}

function origin({ external_id, attributes }) {
  return [external_id, ...Object.entries(attributes).map(([name, value]) => `${name} ${value}`)].filter(Boolean).join(" · ");
}

function showEvidence(evidence, count) {
  const blocks = (kinds) =>
    kinds
      .map((kind) => [kind, evidence.filter((item) => item.kind === kind)])
      .filter(([, items]) => items.length)
      .map(([kind, items]) => evidenceKind(kind, items, count));
  $("evidence-main").replaceChildren(...blocks(["organ", "diagnoses", "plane"]));
  $("evidence-rest").replaceChildren(...blocks(["organ_group", "diagnosis_groups", "findings"]));
  $("evidence").hidden = evidence.length === 0;
  $("evidence-more").hidden = !$("evidence-rest").childElementCount;
}

function evidenceKind(kind, items, count) {
  const block = element("section", "");
  block.append(element("h4", KINDS[kind]), evidenceList(items.slice(0, 3), count));
  if (items.length > 3) {
    const more = element("details", "");
    more.append(element("summary", `${items.length - 3} more`), evidenceList(items.slice(3), count));
    block.append(more);
  }
  return block;
}

function evidenceList(items, count) {
  const list = element("ul", "");
  list.append(...items.map((item) => evidenceItem(item, count)));
  return list;
}

function evidenceItem({ label, found, expected, patients, low_support }, count) {
  const item = $("evidence-template").content.cloneNode(true);
  const chance = expected < 0.05 ? "less than 0.1" : expected.toFixed(1);
  item.querySelector(".sentence").textContent = `${found} of ${count} carry ${label}, ${chance} expected by chance`;
  item.querySelector(".bar-found").style.width = share(found, count);
  item.querySelector(".bar-chance").style.left = share(Math.min(expected, count), count);
  const notes = [];
  if (patients < found) notes.push(`from ${counted(patients, "patient")}`);
  if (low_support) notes.push("fewer than 20 in the library");
  item.querySelector(".hint").textContent = notes.join("; ");
  return item;
}

function share(part, whole) {
  return `${(100 * part) / whole}%`;
}

// Neighbours of a neighbour, by the address's fragment, which is never sent

function referenceInFragment() {
  const id = location.hash.replace("#reference=", "");
  return UUID.test(id) ? id : null;
}

async function followFragment() {
  await state.opening;
  const id = referenceInFragment();
  if (id) attempt("Searching", (job) => showReference(id, job));
  else if (!location.hash) returnToImage();
}

function returnToImage() {
  state.job?.abort();
  showProblem(null);
  if (state.answer && state.stale) search();
  else if (state.answer) showQueryAnswer();
  else {
    $("results").hidden = true;
    showQueryPanel();
  }
}

async function showReference(id, job) {
  const view = `${id} ${addFilters(new URLSearchParams())}`;
  const found = state.references.get(view) ?? (await fetchReference(id, job));
  state.references.set(view, found);
  state.shown = found;
  stepTo(id, titleOf(found.reference));
  showReferencePanel(found.reference);
  showReferenceEditing(found.reference, found.answer);
  showResults(found.answer, "this one");
  $("reference-title").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

async function fetchReference(id, job) {
  const parameters = addFilters(new URLSearchParams({ k: K, max_per_patient: 1 }));
  const [reference, answer] = await Promise.all([
    askJson(`/references/${id}`, { job }),
    askJson(`/references/${id}/neighbours?${parameters}`, { job }),
  ]);
  return { reference, answer };
}

function stepTo(id, title) {
  const position = state.trail.findIndex((step) => step.id === id);
  if (!state.trail.length) state.trail.push({ id: null, title: "Start" });
  if (position < 0) state.trail.push({ id, title });
  else state.trail.length = position + 1;
  showTrail();
}

function showTrail() {
  $("trail").hidden = state.trail.length < 2;
  $("trail-list").replaceChildren(...state.trail.map((step, position) => trailItem(step, position)));
}

function trailItem({ id, title }, position) {
  const item = element("li", "");
  if (position === state.trail.length - 1) {
    item.append(element("span", title));
    item.setAttribute("aria-current", "page");
    return item;
  }
  const link = element("a", position ? title : `← ${title}`);
  link.href = id ? `#reference=${id}` : "#";
  item.append(link);
  return item;
}

function showReferencePanel(reference) {
  document.body.dataset.stage = "reference";
  $("query-panel").hidden = true;
  $("reference-panel").hidden = false;
  $("reference-picture").removeAttribute("src");
  $("reference-picture").alt = `Library image: ${titleOf(reference)}`;
  fillPicture($("reference-picture"), reference.image);
  $("reference-labels").replaceChildren(...labelLines(reference.labels));
  showFacts($("reference-facts"), {
    Library: reference.library,
    "External id": reference.external_id,
    ...reference.attributes,
    Enrolled: new Date(reference.enrolled_at).toLocaleDateString("en", { dateStyle: "medium" }),
  });
}

// A box over a wrong crop

const EDGES = ["x0", "y0", "x1", "y1"];

function searchWithoutRegion() {
  state.region = null;
  search();
}

async function showStage() {
  const file = state.file;
  $("stage-note").hidden = true;
  try {
    const url = state.stageUrl ?? (await showable(file)) ?? (await wholePicture());
    if (state.file !== file) return;
    state.stageUrl = url;
    $("stage-picture").src = url;
    await $("stage-picture").decode();
    state.size ??= [$("stage-picture").naturalWidth, $("stage-picture").naturalHeight];
    $("stage").hidden = false;
    drawBox();
    $("region-panel").scrollIntoView({ block: "nearest" });
  } catch {
    $("stage-note").hidden = false;
    $("stage-note").textContent = "This picture cannot be shown here. Type the edges of the region.";
  }
}

// DICOM and TIFF: the service decodes them. A region over everything is the whole picture.
async function wholePicture() {
  const [width, height] = state.size ?? (await pictureSize());
  const parameters = imageParameters([0, 0, width, height]);
  const reply = await ask(`/frame?${parameters}`, { form: imageForm(false) });
  return URL.createObjectURL(reply.response);
}

async function pictureSize() {
  const reply = await ask(`/frame?${imageParameters(null)}`, { form: imageForm(false) });
  return ["X-Width", "X-Height"].map((name) => Number(reply.getResponseHeader(name)));
}

function listenToStage() {
  const stage = $("stage");
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    state.corner ??= pixelAt(event);
  });
  stage.addEventListener("pointermove", (event) => state.corner && stretchBox(event));
  stage.addEventListener("pointerup", (event) => state.corner && stretchBox(event) && (state.corner = null));
  stage.addEventListener("pointercancel", () => (state.corner = null));
  $("edges").addEventListener("input", () => chooseRegion(EDGES.map((edge) => Number($(edge).value))));
}

function pixelAt(event) {
  const frame = $("stage-picture").getBoundingClientRect();
  const along = (offset, length, pixels) => Math.round(Math.min(Math.max(offset / length, 0), 1) * pixels);
  return [
    along(event.clientX - frame.left, frame.width, state.size[0]),
    along(event.clientY - frame.top, frame.height, state.size[1]),
  ];
}

// Whether the box is large enough to be meant; after a mere click the next one sets the other corner.
function stretchBox(event) {
  const [[ax, ay], [bx, by]] = [state.corner, pixelAt(event)];
  const box = [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
  if (box[2] - box[0] < LEAST_SIDE || box[3] - box[1] < LEAST_SIDE) return false;
  showEdges(box);
  chooseRegion(box);
  return true;
}

function showEdges(box) {
  EDGES.forEach((edge, position) => ($(edge).value = box[position] ?? ""));
  drawBox();
}

function chooseRegion(box) {
  state.region = box;
  drawBox();
}

function drawBox() {
  $("drop-region").hidden = state.region === null;
  const [x0, y0, x1, y1] = EDGES.map((edge) => Number($(edge).value));
  $("box").hidden = !state.size || !(x1 > x0 && y1 > y0);
  if ($("box").hidden) return;
  const [width, height] = state.size;
  const style = $("box").style;
  [style.left, style.top] = [share(x0, width), share(y0, height)];
  [style.width, style.height] = [share(x1 - x0, width), share(y1 - y0, height)];
}

// The libraries

function showLibraries(libraries) {
  const options = libraries.map(({ name }) => new Option(name, name));
  if (libraries.length > 1) options.unshift(new Option("Choose a library", ""));
  $("library").replaceChildren(...options);
  $("library-field").hidden = libraries.length < 2;
  $("library-only").hidden = libraries.length !== 1;
  libraries.forEach(showSize);
  say("");
  if (libraries.length) return;
  const hint = "enrol images on the server: sonoseek enrol NAME MANIFEST";
  throw new Problem({ code: "no_library", detail: "there is no library yet", hint });
}

// Every answer tells how large its library is by now; one that was kept may be older than what is shown.
function showSize({ name, version, size }) {
  if (version < (state.versions.get(name) ?? 0)) return;
  state.versions.set(name, version);
  const option = [...$("library").options].find(({ value }) => value === name);
  if (option) option.textContent = `${name} (${counted(size, "image")})`;
  $("library-only").textContent = `Library: ${name}, ${counted(size, "image")}`;
}

function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
