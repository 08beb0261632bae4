"use strict";
// Labels: a click on one filters, and where the service may be written to they can be corrected and given.

const EDITED = { organ: false, plane: false, diagnoses: true, findings: true }; // kind -> whether there can be several
const WORDS = { organ: "organ", organ_group: "organ group", plane: "plane", diagnoses: "diagnosis", findings: "finding" };

const labels = {
  writes: false, // whether this service takes changes
  where: [], // [kind, value] of the filters in force
  editing: null, // {library, before, save} while the dialog is open
};

document.addEventListener("DOMContentLoaded", () => {
  $("label-form").addEventListener("submit", (event) => {
    event.preventDefault();
    saveLabels();
  });
  $("label-cancel").addEventListener("click", () => $("label-dialog").close());
  $("drop-filters").addEventListener("click", () => filterBy([]));
  $("add-image").addEventListener("click", offerToAdd);
  $("correct-reference").addEventListener("click", () => correct(state.shown.reference, majority(state.shown.answer)));
});

async function learnWhetherWritable(job) {
  labels.writes = (await askJson("/version", { job })).writes;
}

// Filters

function labelButton(kind, name) {
  const button = element("button", name, "label-filter");
  const chosen = labels.where.some(([otherKind, value]) => otherKind === kind && value === name);
  button.type = "button";
  button.setAttribute("aria-pressed", String(chosen));
  button.title = chosen ? "Show images without this label too" : `Show only images with the ${WORDS[kind]} ${name}`;
  button.addEventListener("click", () => toggleFilter(kind, name));
  return button;
}

function toggleFilter(kind, name) {
  const others = labels.where.filter(([otherKind, value]) => otherKind !== kind || value !== name);
  filterBy(others.length < labels.where.length ? others : [...labels.where, [kind, name]]);
}

function filterBy(where) {
  labels.where = where;
  showAgain();
}

function showAgain() {
  if (!referenceInFragment()) return state.file && search();
  state.stale = true; // the way back leads to an answer that is out of date
  followFragment();
}

function addFilters(parameters) {
  for (const [kind, value] of labels.where) parameters.append("where", `${kind}:${value}`);
  return parameters;
}

function showFilters() {
  $("filters").hidden = labels.where.length === 0;
  $("filter-list").replaceChildren(
    ...labels.where.map(([kind, name]) => {
      const item = element("li", `${WORDS[kind]} `);
      const button = labelButton(kind, name);
      button.setAttribute("aria-label", `${name}: remove this filter`);
      item.append(button);
      return item;
    }),
  );
}

// Correcting and giving labels

function correctButton(neighbour, library) {
  const button = element("button", "Correct labels", "quiet");
  button.type = "button";
  button.setAttribute("aria-label", `Correct the labels of library image ${neighbour.rank}`);
  button.addEventListener("click", () => correct({ ...neighbour, library }));
  return button;
}

function showReferenceEditing({ labels: known }, answer) {
  $("correct-reference").hidden = !labels.writes;
  const [name, found] = majority(answer) ?? [];
  const text = known.organ || !name ? "Correct labels" : `Label it ${name} (${found} of ${answer.neighbours.length})`;
  $("correct-reference").textContent = text;
}

function correct(reference, proposal = null) {
  const before = reference.labels;
  const shown = { ...before, organ: before.organ ?? proposal?.[0] ?? null };
  openLabels({
    title: "Labels of this library image",
    note: "What was there before stays in its history.",
    library: reference.library,
    shown,
    save: (said, job) => send(`/references/${reference.reference_id}`, "PATCH", changed(before, said), job),
  });
}

function showAdding(answer) {
  const known = answer.query.reference_id;
  $("add-panel").hidden = !labels.writes;
  $("add-image").hidden = Boolean(known);
  $("open-own").hidden = !known;
  $("open-own").href = `#reference=${known}`;
  const [name, found] = majority(answer) ?? [];
  const share = name ? ` as ${name} (${found} of ${answer.neighbours.length})` : "";
  $("add-image").textContent = `Add to the library${share}`;
}

function offerToAdd() {
  const answer = state.answer;
  const [organ] = majority(answer) ?? [null];
  openLabels({
    title: `Add this image to ${answer.library.name}`,
    note: addingNote(answer),
    library: answer.library.name,
    shown: { organ, plane: null, diagnoses: [], findings: [] },
    save: (said, job) => addImage(answer, said, job),
  });
}

function addingNote(answer) {
  const patient = answer.query.patient_excluded ? "Its patient's id is kept as a key only." : "Its patient is not known.";
  return `Kept are the picture as it was searched and these labels. ${patient}`;
}

async function addImage(answer, said, job) {
  const form = new FormData();
  const description = { ...said, ...(answer.query.frame && { frame: answer.query.frame }) };
  if (answer.query.region_source === "given") description.region = answer.query.region;
  if (state.searchedPatient) description.patient_id = state.searchedPatient;
  form.append("image", state.file, "image"); // a file's own name may be a patient's
  form.append("labels", JSON.stringify(description));
  await ask(`/libraries/${encodeURIComponent(answer.library.name)}/references`, { job, form });
}

// The organ that more than half of the neighbours carry, and how many do. Among filtered ones that would say nothing.
function majority(answer) {
  if (labels.where.length) return null;
  const [best] = answer.evidence.filter(({ kind }) => kind === "organ").sort((a, b) => b.found - a.found);
  return best && 2 * best.found > answer.neighbours.length ? [best.label, best.found] : null;
}

function changed(before, said) {
  const differs = (kind) => JSON.stringify(before[kind]) !== JSON.stringify(said[kind]);
  return Object.fromEntries(Object.entries(said).filter(([kind]) => differs(kind)));
}

function send(path, method, body, job) {
  return ask(path, { job, method, json: body });
}

// The dialog

function openLabels({ title, note, library, shown, save }) {
  labels.editing = { save };
  $("label-title").textContent = title;
  $("label-note").textContent = note;
  $("label-problem").hidden = true;
  for (const kind of Object.keys(EDITED)) {
    $(`label-${kind}`).value = EDITED[kind] ? shown[kind].join("; ") : (shown[kind] ?? "");
  }
  $("label-dialog").showModal();
  $("label-organ").select();
  suggestLabels(library);
}

async function suggestLabels(library) {
  try {
    const known = await askJson(`/libraries/${encodeURIComponent(library)}`);
    for (const kind of ["organ", "plane"]) {
      $(`known-${kind}`).replaceChildren(...known.labels[kind].map(({ label }) => new Option(label, label)));
    }
  } catch {
    // no suggestions: labels can be typed
  }
}

function saidLabels() {
  const several = (text) => text.split(";").map((part) => part.trim()).filter(Boolean);
  return Object.fromEntries(
    Object.entries(EDITED).map(([kind, many]) => {
      const text = $(`label-${kind}`).value.trim();
      return [kind, many ? several(text) : text || null];
    }),
  );
}

async function saveLabels() {
  $("label-save").disabled = true;
  try {
    await labels.editing.save(saidLabels(), null);
    $("label-dialog").close();
    state.references.clear();
    showAgain();
  } catch (error) {
    const problem = error instanceof Problem ? error : brokenPage(error);
    $("label-problem").hidden = false;
    $("label-problem").textContent = `${sentence(problem.detail)} What you can do: ${problem.hint}.`;
  } finally {
    $("label-save").disabled = false;
  }
}
