'use strict';
// The page. All it knows of the model comes from backend.call(name, request), which a server or a
// worker answers alike. `state` is all that the pictures depend on.

const $ = (id) => document.getElementById(id);
const names = { rgb: ['Colour', 'colour'], depth: ['Depth', 'depth'], semseg: ['Objects', 'objects'] };
const title = (m) => (names[m] || [m, m])[0];
const word = (m) => (names[m] || [m, m])[1];

// --- backends -------------------------------------------------------------------------------

const server = {
  start: null, // an id: from its start to its end, a server has one model and one set of scenes
  async call(name, request) {
    const lost = (text) => Object.assign(new Error(text), { lost: true });
    let response, answer;
    try {
      response = await fetch('api/' + name, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(request) });
    } catch (e) {
      throw lost('The server does not answer. Is gomae demo still running?');
    }
    const start = response.headers.get('Gomae-Start'); // which what stands between may lack
    server.start ??= start;
    if (start && start !== server.start) throw new Error('The server was restarted, and may have another model or other scenes. Reload the page. To go on with these patches, first save them with “State (JSON)”.');
    try {
      answer = await response.json();
    } catch (e) {
      throw lost(response.ok ? 'The answer of the server was cut off. Is gomae demo still running?' : response.status + ' ' + response.statusText);
    }
    if (complaint && complaint.lost) complain(null); // it answers again
    if (!response.ok || answer.error) throw new Error(answer.error);
    return answer;
  },
};

function worker() {
  if (location.protocol === 'file:') throw new Error('This page works only from a web server, which may be on this machine. In its folder, run for example python3 -m http.server, and open http://localhost:8000.');
  const w = new Worker('worker.js');
  const waiting = new Map();
  let last = 0;
  const settle = (id, f) => { const p = waiting.get(id); waiting.delete(id); if (p) f(p); };
  w.onmessage = ({ data }) => settle(data.id, (p) => (data.error ? p.reject(new Error(data.error)) : p.resolve(JSON.parse(data.answer))));
  w.onerror = (e) => { for (const id of [...waiting.keys()]) settle(id, (p) => p.reject(new Error('The model could not be started: ' + (e.message || 'worker.js')))); };
  return { call: (name, request) => new Promise((resolve, reject) => { waiting.set(++last, { resolve, reject }); w.postMessage({ id: last, name, body: JSON.stringify(request) }); }) };
}

let backend; // server or a worker

// --- state ----------------------------------------------------------------------------------

let info; // what the model is
let truth = {}; // pictures of the scene by modality
let sceneName = ''; // '' if it has none
let answer = null; // of predict
let gaze = null; // of attention
const view = {}; // elements of each modality
const state = {
  scene: { number: 0 }, visible: {}, hue: { patches: [], degrees: 120 }, tool: 'show', third: 'truth',
  tokens: 32, alphas: {}, seed: 1, probe: null, block: 4,
};

const given = () => info.modalities.map((m) => m.name).filter((m) => truth[m]);
const digits = (a) => a.map((on) => (on ? '1' : '0')).join('');
const many = (n, what) => n + ' ' + what + (n === 1 ? '' : (what.endsWith('h') ? 'es' : 's'));
const colour = () => info.modalities.find((m) => m.colour && truth[m.name]);

function request() {
  const visible = {};
  for (const m of given()) visible[m] = digits(state.visible[m]);
  const r = { scene: state.scene, visible };
  if (state.tool === 'hue' && colour() && state.hue.patches.some((on, i) => on && state.visible[colour().name][i])) {
    r.hue = { modality: colour().name, patches: digits(state.hue.patches.map((on, i) => on && state.visible[colour().name][i])), degrees: state.hue.degrees };
  }
  return r;
}

// --- asking ---------------------------------------------------------------------------------

// latest runs f one call at a time; of calls that come meanwhile only the last is made.
let asking = 0; // calls under way
function latest(f) {
  let busy = false, again = false;
  return async function run() {
    if (busy) { again = true; return; }
    busy = true;
    asking++;
    do {
      again = false;
      try { await f(); } catch (e) { complain(e); }
    } while (again);
    busy = false;
    asking--;
  };
}

const predict = latest(async () => {
  const visible = given().some((m) => state.visible[m].some(Boolean));
  if (!visible) {
    answer = null;
    $('speed').textContent = 'Nothing is shown. Show the network at least one patch.';
    return draw();
  }
  const began = performance.now(), scene = state.scene;
  const a = await backend.call('predict', request());
  if (scene !== state.scene) return; // it is of the former scene
  answer = a;
  document.body.dataset.predictions = 1 + Number(document.body.dataset.predictions || 0); // for tests
  $('speed').textContent = `Predicted in ${answer.ms.toFixed(0)} ms, ${(performance.now() - began).toFixed(0)} ms with the way here and back.`;
  draw();
});

const look = latest(async () => {
  const p = state.probe, scene = state.scene;
  gaze = null;
  if (state.tool === 'attention' && p && state.visible[p.modality] && state.visible[p.modality][p.patch]) {
    const a = await backend.call('attention', { ...request(), modality: p.modality, patch: p.patch, block: state.block - 1 });
    if (scene !== state.scene) return; // it may be of other modalities
    gaze = a;
    say(`Attention of ${place(p.modality, p.patch)}: ` + given().map((m) => `${word(m)} ${Math.round(100 * gaze.weights[m].reduce((a, b) => a + b, 0))} %`).join(', '));
  }
  draw();
});

let scenes = 0; // that were asked for
let asked; // number of the scene that is on its way, if it has one
// open shows a scene, or that of a promise, with new patches unless keep is true or a function that takes
// the server's answer and sets the state, or throws. It returns whether the scene could be opened, and
// undefined if another one was chosen meanwhile.
async function open(scene, keep) {
  const mine = ++scenes;
  asked = scene.number;
  $('board').setAttribute('aria-busy', 'true');
  try {
    scene = await scene;
    if (mine !== scenes) return;
    const a = await backend.call('scene', { scene });
    if (mine !== scenes) return; // another one was chosen meanwhile
    complain(null);
    if (typeof keep === 'function') keep(a);
    truth = {};
    answer = gaze = null; // they are of the former scene
    if (!scene.images || typeof keep === 'function') forgetFiles(); // they are of another scene
    for (const [m, p] of Object.entries(a.pictures)) truth[m] = bitmap(p);
    state.scene = a.scene;
    sceneName = a.name || '';
    $('number').value = a.scene.number ?? '';
    $('note').textContent = a.scene.number === undefined ? '' : `${sceneName || 'A rendered room'}: the network was not trained on it.`;
    $('tokens').max = info.grid ** 2 * given().length;
    state.tokens = Math.min(state.tokens, $('tokens').max);
    refresh();
    if (keep) for (const m of info.modalities) if (!truth[m.name] || !state.visible[m.name]) state.visible[m.name] = none();
    const late = wanted === edits; // random patches were asked for and have not come
    if (!keep || (keep === true && late)) { draw(); await random(); } else changed();
    return true;
  } catch (e) {
    if (mine !== scenes) return;
    complain(e);
    return false;
  } finally {
    if (mine === scenes) {
      asked = undefined;
      $('board').setAttribute('aria-busy', 'false');
    }
  }
}

let edits = 0, wanted = 0; // of the patches shown: random ones that come after a later edit are dropped
const mask = latest(async () => {
  const alphas = {}, mine = wanted;
  if (mine !== edits) return;
  for (const m of given()) alphas[m] = state.alphas[m];
  const a = await backend.call('mask', { scene: state.scene, tokens: Number(state.tokens), alphas, seed: state.seed });
  if (mine !== edits) return;
  for (const m of info.modalities) state.visible[m.name] = a.visible[m.name] ? [...a.visible[m.name]].map((c) => c === '1') : none();
  changed();
});

function random() {
  wanted = ++edits;
  return mask();
}

const none = () => new Array(info.grid ** 2).fill(false);
const all = () => new Array(info.grid ** 2).fill(true);

function changed() {
  edits++;
  renew();
}

// renew is for changes of the state that are none of the patches shown.
function renew() {
  draw();
  predict();
  if (state.tool === 'attention') look();
}

// --- drawing --------------------------------------------------------------------------------

function bitmap(p) {
  const c = document.createElement('canvas');
  c.width = p.width;
  c.height = p.height;
  const raw = atob(p.rgba), rgba = new Uint8ClampedArray(raw.length);
  for (let i = 0; i < raw.length; i++) rgba[i] = raw.charCodeAt(i);
  c.getContext('2d').putImageData(new ImageData(rgba, p.width, p.height), 0, 0);
  return c;
}

const side = 448; // pixels of a canvas
const cell = () => side / info.grid;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function show(canvas, picture) {
  const g = canvas.getContext('2d');
  g.imageSmoothingEnabled = false;
  g.clearRect(0, 0, side, side);
  if (picture) g.drawImage(picture, 0, 0, side, side);
  return g;
}

function blank(canvas, lines) {
  const g = show(canvas, null);
  g.fillStyle = css('--hidden');
  g.fillRect(0, 0, side, side);
  g.fillStyle = css('--soft');
  g.font = '26px system-ui, sans-serif';
  g.textAlign = 'center';
  lines.forEach((s, i) => g.fillText(s, side / 2, side / 2 + 34 * (i - (lines.length - 1) / 2) + 8));
}

function drawSeen(m) {
  const v = view[m], on = state.visible[m];
  if (!truth[m]) {
    v.count.textContent = '';
    v.sees.setAttribute('aria-label', `${title(m)}: not given, predicted from the others.`);
    return blank(v.sees, ['not given:', 'predicted', 'from the others']);
  }
  const shifted = answer && answer.views[m] && answer.views[m].input;
  const picture = state.tool === 'hue' && shifted ? cached(shifted) : truth[m];
  const g = show(v.sees, picture), c = cell(), hidden = css('--hidden');
  for (let i = 0; i < on.length; i++) {
    const x = (i % info.grid) * c, y = Math.floor(i / info.grid) * c;
    if (!on[i]) {
      g.globalAlpha = 0.93;
      g.fillStyle = hidden;
      g.fillRect(x, y, c, c);
      g.globalAlpha = 1;
      g.strokeStyle = css('--card');
      g.lineWidth = 1;
      g.strokeRect(x + 0.5, y + 0.5, c - 1, c - 1);
    }
  }
  if (state.tool === 'hue' && colour() && m === colour().name) {
    g.strokeStyle = css('--mark');
    g.lineWidth = 5;
    state.hue.patches.forEach((marked, i) => { if (marked && on[i]) g.strokeRect((i % info.grid) * c + 3, Math.floor(i / info.grid) * c + 3, c - 6, c - 6); });
  }
  if (state.tool === 'attention') drawGaze(g, m, c);
  if (v.cursor !== null && document.activeElement === v.sees) {
    const x = (v.cursor % info.grid) * c, y = Math.floor(v.cursor / info.grid) * c;
    g.lineWidth = 7; g.strokeStyle = '#fff'; g.strokeRect(x + 3, y + 3, c - 6, c - 6);
    g.lineWidth = 3; g.strokeStyle = css('--accent'); g.strokeRect(x + 3, y + 3, c - 6, c - 6);
  }
  const n = on.filter(Boolean).length;
  v.count.textContent = `${n} of ${on.length}`;
  v.sees.setAttribute('aria-label', `${title(m)}: ${n} of ${many(on.length, 'patch')} shown to the network. Arrow keys move, space acts.`);
}

function drawGaze(g, m, c) {
  if (!gaze || !state.probe) return;
  const most = Math.max(...given().map((o) => Math.max(...gaze.weights[o])));
  gaze.weights[m].forEach((w, i) => {
    if (!state.visible[m][i]) return;
    const x = (i % info.grid) * c, y = Math.floor(i / info.grid) * c;
    g.fillStyle = `rgba(10, 10, 30, ${0.85 - 0.85 * (w / most)})`;
    g.fillRect(x, y, c, c);
    g.strokeStyle = `rgba(255, 140, 50, ${Math.max(0, 1.6 * (w / most) - 0.6)})`;
    g.lineWidth = 6;
    g.strokeRect(x + 3, y + 3, c - 6, c - 6);
  });
  if (state.probe.modality === m) {
    const x = (state.probe.patch % info.grid) * c, y = Math.floor(state.probe.patch / info.grid) * c;
    g.setLineDash([9, 6]);
    g.lineWidth = 6; g.strokeStyle = '#fff'; g.strokeRect(x + 3, y + 3, c - 6, c - 6);
    g.setLineDash([]);
  }
}

// paste puts the patches that the network sees over its prediction, which training has never judged
// there.
function paste(m, g) {
  if (!truth[m]) return;
  const picture = answer.views[m].input ? cached(answer.views[m].input) : truth[m];
  const c = cell(), from = picture.width / info.grid;
  state.visible[m].forEach((on, i) => {
    const x = i % info.grid, y = Math.floor(i / info.grid);
    if (on) g.drawImage(picture, x * from, y * from, from, from, x * c, y * c, c, c);
  });
}

const bitmaps = new WeakMap();
function cached(p) {
  if (!bitmaps.has(p)) bitmaps.set(p, bitmap(p));
  return bitmaps.get(p);
}

function draw() {
  for (const { name: m } of info.modalities) {
    const v = view[m];
    drawSeen(m);
    const a = answer && answer.views[m];
    if (a) paste(m, show(v.predicts, cached(a.prediction))); else blank(v.predicts, [answer ? 'not predicted' : '…']);
    v.score.textContent = a && a.score ? `${a.score.figure} ${a.score.value.toFixed(1)} ${a.score.unit}` : '';
    v.score.title = 'of the hidden patches; an error is in per cent of the range';
    v.tabs.before.hidden = !(a && a.before);
    let third = state.third;
    if (third === 'before' && v.tabs.before.hidden) third = 'truth';
    v.drawn = third;
    if (third === 'error') a && a.error ? show(v.third, cached(a.error)) : blank(v.third, [answer ? 'unknown' : '…']);
    else if (third === 'before') show(v.third, cached(a.before));
    else truth[m] ? show(v.third, truth[m]) : blank(v.third, ['not given']);
    for (const [k, b] of Object.entries(v.tabs)) b.setAttribute('aria-pressed', String(k === third));
    drawLegend(m, third);
  }
}

// drawLegend names the classes that the pictures have, by their colours.
function drawLegend(m, third) {
  const v = view[m], d = info.modalities.find((x) => x.name === m);
  if (third === 'error' && truth[m]) { v.legend.innerHTML = 'right <span class="ramp"></span> wrong'; return; }
  if (d.classes) {
    const there = new Set();
    for (const c of [v.predicts, v.third]) {
      const px = c.getContext('2d').getImageData(0, 0, side, side).data, step = side / d.side;
      for (let y = step / 2; y < side; y += step) for (let x = step / 2; x < side; x += step) {
        const i = 4 * (Math.floor(y) * side + Math.floor(x));
        there.add('#' + [px[i], px[i + 1], px[i + 2]].map((b) => b.toString(16).padStart(2, '0')).join(''));
      }
    }
    v.legend.replaceChildren(...d.classes.filter((k) => there.has(k.color)).map((k) => {
      const s = document.createElement('span'), dot = document.createElement('i');
      dot.style.background = k.color;
      s.append(dot, k.name);
      return s;
    }));
  } else if (m === 'depth') v.legend.innerHTML = 'near <span class="ramp"></span> far';
  else v.legend.textContent = '';
}

// --- the board ------------------------------------------------------------------------------

function element(tag, props, ...children) {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
}

function card(m) {
  const v = (view[m.name] = { cursor: null, tabs: {} });
  const canvas = () => element('canvas', { width: side, height: side });
  v.sees = canvas(); v.predicts = canvas(); v.third = canvas();
  v.predicts.setAttribute('role', 'img');
  v.predicts.setAttribute('aria-label', `Predicted ${word(m.name)}`);
  v.third.setAttribute('role', 'img');
  v.third.setAttribute('aria-label', `${title(m.name)} for comparison`);
  v.sees.tabIndex = 0;
  v.sees.id = 'sees-' + m.name;
  v.predicts.id = 'predicts-' + m.name;
  v.third.id = 'third-' + m.name;
  v.sees.setAttribute('role', 'application');
  v.count = element('small', {});
  v.score = element('span', {});
  const set = (text, label, f) => {
    const b = element('button', { type: 'button', textContent: text, onclick: () => { if (truth[m.name]) { state.visible[m.name] = f(); changed(); } } });
    b.setAttribute('aria-label', label);
    return b;
  };
  const tab = (key, text) => (v.tabs[key] = element('button', { type: 'button', textContent: text, onclick: () => { state.third = key; draw(); } }));
  const legend = (v.legend = element('div', { className: 'legend' }));
  touch(m.name, v.sees);
  return element('section', { className: 'card' },
    element('h2', {}, title(m.name), v.count, element('span', { className: 'sets' },
      set('all', `Show all of ${word(m.name)}`, all), set('none', `Hide all of ${word(m.name)}`, none))),
    element('figure', { className: 'sees' }, v.sees, element('figcaption', {}, element('b', { textContent: 'The network sees' }))),
    element('div', { className: 'flow', textContent: '▼', ariaHidden: 'true' }),
    element('figure', {}, v.predicts, element('figcaption', {}, element('b', { textContent: 'It imagines' }), v.score)),
    element('figure', { className: 'third' }, v.third, element('figcaption', {}, element('span', { className: 'tabs' },
      tab('truth', 'The truth'), tab('error', 'Errors'), tab('before', 'Before the change')))),
    legend);
}

const place = (m, i) => `${word(m)}, row ${Math.floor(i / info.grid) + 1}, column ${(i % info.grid) + 1}`;

// act does with a patch what the tool says. paint is what a drag sets; undefined at its start.
function act(m, i, paint) {
  if (!truth[m]) return undefined;
  if (state.tool === 'attention') {
    if (state.visible[m][i]) { state.probe = { modality: m, patch: i }; look(); } else say(`${place(m, i)} is hidden: the network gives it no attention`);
    return true;
  }
  if (state.tool === 'hue') {
    if (!colour() || m !== colour().name) { say('Only colour has a hue'); return true; }
    const on = paint === undefined ? !(state.hue.patches[i] && state.visible[m][i]) : paint;
    if (state.hue.patches[i] !== on || (on && !state.visible[m][i])) {
      state.hue.patches[i] = on;
      state.third = 'before';
      say(`${place(m, i)}: hue ${on ? 'turned' : 'as it was'}`);
      if (on && !state.visible[m][i]) {
        state.visible[m][i] = true; // what is not shown has no colour to change
        changed();
      } else renew();
    }
    return on;
  }
  const on = paint === undefined ? !state.visible[m][i] : paint;
  if (state.visible[m][i] !== on) {
    state.visible[m][i] = on;
    say(`${place(m, i)} ${on ? 'shown' : 'hidden'}`);
    changed();
  }
  return on;
}

function touch(m, canvas) {
  let paint, last = -1;
  const at = (e) => {
    const r = canvas.getBoundingClientRect();
    const x = Math.floor(((e.clientX - r.left) / r.width) * info.grid), y = Math.floor(((e.clientY - r.top) / r.height) * info.grid);
    return x < 0 || y < 0 || x >= info.grid || y >= info.grid ? -1 : y * info.grid + x;
  };
  canvas.addEventListener('pointerdown', (e) => {
    if (e.button !== 0) return;
    canvas.setPointerCapture(e.pointerId);
    view[m].cursor = null;
    if ((last = at(e)) >= 0) paint = act(m, last, undefined);
  });
  canvas.addEventListener('pointermove', (e) => {
    if (paint === undefined) return;
    for (const p of e.getCoalescedEvents ? [...e.getCoalescedEvents(), e] : [e]) {
      const i = at(p);
      if (i >= 0 && i !== last) act(m, (last = i), paint);
    }
  });
  for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => { paint = undefined; });
  canvas.addEventListener('focus', () => { if (canvas.matches(':focus-visible')) { view[m].cursor ??= 0; draw(); } });
  canvas.addEventListener('blur', () => draw());
  canvas.addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const v = view[m], n = info.grid, i = v.cursor ?? 0;
    // Where the layout has other letters, that of the key's place.
    const letter = /^\p{Script=Latin}$/u.test(e.key) ? e.key.toLowerCase() : { KeyA: 'a', KeyN: 'n' }[e.code];
    const to = { ArrowLeft: i % n ? i - 1 : i, ArrowRight: (i + 1) % n ? i + 1 : i, ArrowUp: i >= n ? i - n : i, ArrowDown: i < n * (n - 1) ? i + n : i }[e.key];
    if (to !== undefined) {
      const was = state.visible[m][i];
      v.cursor = to;
      if (e.shiftKey && state.tool === 'show') act(m, to, was); else if (truth[m]) say(`${place(m, to)}, ${state.visible[m][to] ? 'shown' : 'hidden'}`);
    } else if (e.key === ' ' || e.key === 'Enter') {
      v.cursor = i;
      act(m, i, undefined);
    } else if ((letter === 'a' || letter === 'n') && truth[m]) {
      state.visible[m] = letter === 'a' ? all() : none();
      changed();
    } else return;
    e.preventDefault();
    draw();
  });
}

// --- controls -------------------------------------------------------------------------------

function say(s) { $('live').textContent = s; }

let complaint = null; // that is shown
function complain(e) {
  complaint = e;
  $('alert').hidden = !e;
  $('alert').firstElementChild.textContent = e ? e.message : '';
}

const tips = {
  show: '',
  hue: 'Click a colour patch that is shown, then turn its hue: does the whole object follow?',
  attention: 'Click a patch that is shown: bright patches are those that it looks at.',
};

function chooseTool(tool) {
  state.tool = tool;
  document.querySelector(`input[name=tool][value=${tool}]`).checked = true;
  $('tip').textContent = tips[tool];
  $('huebox').hidden = tool !== 'hue';
  $('blockbox').hidden = tool !== 'attention';
  if (tool !== 'hue' && state.third === 'before') state.third = 'truth';
  if (tool === 'attention' && !state.probe) {
    const m = given().find((x) => state.visible[x].some(Boolean));
    if (m) state.probe = { modality: m, patch: state.visible[m].indexOf(true) };
  }
  renew();
}

function recipe(r, only) {
  const left = all().map((_, i) => i % info.grid < info.grid / 2);
  for (const m of given()) {
    if (r === 'only') state.visible[m] = m === only ? all() : none();
    else if (r === 'all') state.visible[m] = all();
    else if (r === 'none') state.visible[m] = none();
    else if (r === 'left') state.visible[m] = [...left];
  }
  if (r === 'random') { state.seed = Math.floor(Math.random() * 1e9); random(); } else changed();
}

function slider(input, output, set, format) {
  const f = () => { set(Number(input.value)); output.textContent = format(Number(input.value)); };
  input.addEventListener('input', f);
  return (value) => { input.value = value; output.textContent = format(Number(value)); };
}

// forgetFiles empties the fields of files, which are sent together when one of them changes.
function forgetFiles() {
  for (const m of info.modalities) $('file-' + m.name).value = '';
}

async function load(files) {
  let at; // the modality whose file is read
  const read = async () => {
    const total = Object.values(files).reduce((n, f) => n + f.size, 0);
    if (backend === server && total > 9e6) throw new Error(`The images have ${(total / 1e6).toFixed(1)} MB together; at most 9 MB are sent. Store smaller images.`);
    const images = {};
    for (const [m, f] of Object.entries(files)) {
      at = m;
      if (f.size > 8 << 20) throw new Error(`${f.name} has ${(f.size / 1048576).toFixed(1)} MB; at most 8 MB are read. Store a smaller image.`);
      let b, s = '';
      try {
        b = new Uint8Array(await f.arrayBuffer());
      } catch (e) {
        throw new Error(`${f.name} cannot be read (${e.message}). Choose it again; it must be a file, and no folder.`);
      }
      for (let i = 0; i < b.length; i += 32768) s += String.fromCharCode(...b.subarray(i, i + 32768));
      images[m] = btoa(s);
    }
    at = undefined;
    return { images };
  };
  if ((await open(read())) !== false) return;
  // A field that keeps its file says nothing when that is mended and chosen again.
  if (at) $('file-' + at).value = ''; else forgetFiles();
}

function controls() {
  $('model').textContent = `${info.model}, ${(info.parameters / 1e6).toFixed(1)} million parameters`;
  for (const m of info.modalities) $('only').append(element('button', { type: 'button', textContent: `Only ${word(m.name)}`, onclick: () => recipe('only', m.name) }));
  for (const b of document.querySelectorAll('[data-recipe]')) b.onclick = () => recipe(b.dataset.recipe);
  for (const r of document.querySelectorAll('input[name=tool]')) r.onchange = () => chooseTool(r.value);
  const hue = slider($('hue'), $('huevalue'), (x) => { state.hue.degrees = x; predict(); }, (x) => `${x}°`);
  $('block').max = info.blocks;
  const block = slider($('block'), $('blockvalue'), (x) => { state.block = x; look(); }, (x) => `${x} of ${info.blocks}`);
  const tokens = slider($('tokens'), $('tokensvalue'), (x) => { state.tokens = x; random(); }, (x) => x);
  const alphas = {};
  for (const m of info.modalities) {
    const input = element('input', { type: 'range', min: -1.3, max: 1.3, step: 0.1 }), output = element('output', {});
    input.id = 'alpha-' + m.name;
    $('alphas').append(element('label', { className: 'slider' }, `α of ${word(m.name)} `, output, input));
    alphas[m.name] = slider(input, output, (x) => { state.alphas[m.name] = 10 ** x; random(); }, (x) => (10 ** x).toPrecision(2));
    const file = element('input', { type: 'file', accept: m.colour ? 'image/png,image/jpeg' : 'image/png' });
    file.id = 'file-' + m.name;
    file.onchange = () => {
      const files = {};
      for (const o of info.modalities) if ($('file-' + o.name).files[0]) files[o.name] = $('file-' + o.name).files[0];
      if (Object.keys(files).length) load(files);
    };
    const kind = m.colour ? 'photo' : m.kind === 'image' ? '16-bit grey PNG' : '8-bit PNG of class ids';
    $('files').append(element('label', {}, `${title(m.name)} (${kind})`, file));
  }
  refresh = () => {
    hue(state.hue.degrees); block(state.block); tokens(state.tokens);
    for (const m in alphas) alphas[m](Math.log10(state.alphas[m]));
  };
  refresh();
  $('offered').hidden = $('note').hidden = $('next').hidden = !info.scenes;
  const last = info.scenes - 1, now = () => asked ?? state.scene.number ?? -1;
  $('number').max = last;
  const go = (n) => { if (Number.isInteger(n) && n >= 0 && n <= last) open({ number: n }, true); else complain(new Error(`The scenes have numbers from 0 to ${last}.`)); };
  $('number').onchange = () => go($('number').valueAsNumber); // not a number where the field is empty
  $('back').onclick = () => go(Math.max(0, now() - 1));
  $('forth').onclick = () => go(Math.min(last, now() + 1));
  $('next').onclick = () => { state.hue.patches = none(); go(last < 1000 ? (now() + 1) % info.scenes : Math.floor(Math.random() * Math.min(info.scenes, 1e6))); };
  $('draw').onclick = () => { state.seed = Math.floor(Math.random() * 1e9); random(); };
  $('alert').lastElementChild.onclick = () => complain(null);
  $('png').onclick = savePicture;
  $('json').onclick = () => save(new Blob([JSON.stringify({ gomae: 1, model: info.model, scenes: info.scenes, sceneName, ...state }, null, 1)], { type: 'application/json' }), 'gomae-state.json');
  $('open').onchange = () => { if ($('open').files[0]) restore($('open').files[0]); $('open').value = ''; };
  $('openlabel').onkeydown = (e) => { if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); $('open').click(); } };
  let over = 0;
  const dropping = (on) => document.body.classList.toggle('dropping', on);
  const onField = (e) => e.target.closest && e.target.closest('input[type=file]'); // which takes the file itself
  addEventListener('dragenter', () => over++);
  addEventListener('dragleave', () => { if (--over <= 0) dropping(false); });
  addEventListener('dragover', (e) => { dropping(!onField(e)); if (!onField(e)) e.preventDefault(); });
  addEventListener('drop', (e) => {
    over = 0;
    dropping(false);
    if (onField(e)) return;
    e.preventDefault();
    const { files } = e.dataTransfer, f = files[0], rgb = info.modalities.find((m) => m.colour);
    if (!f) return; // text
    if (files.length > 1) return complain(new Error(`${files.length} files were dropped. Drop one, or drop each on its field under “Your own pictures”.`));
    if (f.name.endsWith('.json')) return restore(f);
    if (!rgb) return complain(new Error(`${f.name}: the model reads no colour. Drop the file on its field under “Your own pictures”.`));
    const one = new DataTransfer();
    one.items.add(f);
    forgetFiles(); // they are of another photo
    $('file-' + rgb.name).files = one.files;
    $('file-' + rgb.name).onchange();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
}
let refresh = () => {};

// --- saving ---------------------------------------------------------------------------------

function save(blob, name) {
  const a = element('a', { href: URL.createObjectURL(blob), download: name });
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 1000);
}

function savePicture() {
  const gap = 14, top = 44, left = 190, n = info.modalities.length, c = document.createElement('canvas');
  c.width = left + n * (side + gap);
  c.height = top + 3 * (side + gap);
  const g = c.getContext('2d');
  g.fillStyle = '#fff';
  g.fillRect(0, 0, c.width, c.height);
  g.fillStyle = '#1a1c2c';
  g.font = '600 24px system-ui, sans-serif';
  info.modalities.forEach(({ name: m }, i) => {
    const x = left + i * (side + gap);
    g.textAlign = 'center';
    g.fillText(title(m), x + side / 2, 30);
    [view[m].sees, view[m].predicts, view[m].third].forEach((p, k) => g.drawImage(p, x, top + k * (side + gap)));
  });
  g.textAlign = 'right';
  const thirds = new Set(info.modalities.map((m) => view[m.name].drawn)); // "before" where there is one, and the truth elsewhere
  ['seen', 'predicted', [...thirds].sort().join(', ')].forEach((s, k) => g.fillText(s, left - 14, top + k * (side + gap) + side / 2));
  c.toBlob((b) => save(b, 'gomae.png'));
}

async function restore(file) {
  const refuse = (text) => { throw new Error(`${file.name}: ${text}`); };
  let s, next, numbered;
  const read = async () => {
    if (file.size > 16 << 20) refuse('it is larger than any state');
    try { s = JSON.parse(await file.text()) || {}; } catch (e) { refuse(e.message); }
    const patches = info.grid ** 2;
    const flags = (a) => Array.isArray(a) && a.length === patches && a.every((x) => typeof x === 'boolean');
    if (s.gomae !== 1 || ![s.scene, s.visible, s.hue].every((x) => x && typeof x === 'object')) refuse('it is no state that this page has saved');
    if (s.model !== undefined && s.model !== info.model) refuse(`it is of the model ${s.model}, and this is ${info.model}`);
    numbered = s.scene.number !== undefined; // and not of images, which it has itself
    if (numbered && s.scenes !== undefined && s.scenes !== info.scenes) refuse(`it is of a page with ${s.scenes} scenes, and this one has ${info.scenes}; open it there`);
    for (const m of info.modalities) if (!flags(s.visible[m.name])) refuse(`it has no ${patches} patches of ${m.name}; it is of another model`);
    const alpha = (m) => (s.alphas && Number(s.alphas[m]) > 0 ? Number(s.alphas[m]) : 1);
    next = {
      alphas: Object.fromEntries(info.modalities.map((m) => [m.name, alpha(m.name)])),
      visible: Object.fromEntries(info.modalities.map((m) => [m.name, s.visible[m.name]])),
      hue: { patches: flags(s.hue.patches) ? s.hue.patches : none(), degrees: Math.max(-180, Math.min(180, Number(s.hue.degrees) || 0)) },
      tokens: Math.max(1, Math.floor(Number(s.tokens)) || 32),
      seed: Math.max(0, Math.floor(Number(s.seed)) || 0),
      block: Math.min(info.blocks, Math.max(1, Math.floor(Number(s.block)) || info.blocks)),
      probe: s.probe && s.visible[s.probe.modality] ? { modality: String(s.probe.modality), patch: Number(s.probe.patch) } : null,
      third: ['truth', 'error', 'before'].includes(s.third) ? s.third : 'truth',
    };
    return s.scene;
  };
  const take = (a) => {
    const was = s.sceneName ?? a.name ?? '', is = a.name || '';
    if (numbered && was !== is) refuse(`its scene ${s.scene.number} is ${was || 'a rendered room'}, and here it is ${is || 'a rendered room'}; open it on a page with the same scenes`);
    Object.assign(state, next);
  };
  if (!(await open(read(), take))) return;
  chooseTool(['show', 'hue', 'attention'].includes(s.tool) ? s.tool : 'show');
  refresh();
}

// --- start ----------------------------------------------------------------------------------

(async () => {
  try {
    backend = document.body.dataset.backend === 'worker' ? worker() : server;
    if (backend !== server) $('speed').textContent = 'Loading the network into this page…';
    info = await backend.call('info', {});
  } catch (e) {
    return complain(e);
  }
  for (const m of info.modalities) {
    state.alphas[m.name] = m.alpha;
    state.visible[m.name] = none();
  }
  state.tokens = info.tokens;
  state.block = info.blocks;
  state.hue.patches = none();
  $('board').style.setProperty('--columns', Math.min(3, info.modalities.length));
  $('board').append(...info.modalities.map(card));
  controls();
  if (info.scenes) await open({ number: info.scenes > 12 ? 12 : 0 });
  else { $('own').open = true; draw(); $('board').setAttribute('aria-busy', 'false'); $('speed').textContent = 'Give a picture to begin with.'; }
})();
